"""Opening a host's own firewall to the members: what is let in, and what the tool does with each kind of firewall."""

from __future__ import annotations

import hashlib
import os
import subprocess
from dataclasses import replace

import pytest

from prometheus_ha.deploys import firewall
from prometheus_ha.deploys.lib.engine.component import compare
from prometheus_ha.deploys.lib.ground.findings import SettingsErrors
from prometheus_ha.deploys.lib.ground.topology import FIREWALL
from prometheus_ha.deploys.lib.site.live import Live
from prometheus_ha.deploys.lib.site.members import Site
from prometheus_ha.deploys.lib.survey.load import site_from_dicts
from prometheus_ha.deploys.lib.survey.site_checks import _check_firewall
from prometheus_ha.facts.reports.look import Path, Process
from tests.unit.example_site import example_site
from tests.unit.recorded import BLANK, run_site

UNIT = "/etc/systemd/system/monitoring-firewall.service"
OPEN = example_site(firewall="open")
AM = OPEN.hosts["am-1"]


def test_who_is_let_in():
    rules = firewall.rules(OPEN, AM)
    assert ("ip", "10.0.0.22", "udp", 9094) in rules
    assert ("ip", "10.0.0.11", "tcp", 9093) in rules
    assert ("ip", "10.0.0.11", "tcp", 9100) in rules
    assert ("ip", "10.0.0.41", "tcp", 9093) not in rules  # a querier asks no Alertmanager
    assert not any(port == 22 for *_, port in rules)


def test_a_management_address_is_let_in_too():
    hosts = {**OPEN.hosts, "prom-1": replace(OPEN.hosts["prom-1"], management="10.9.0.1")}
    rules = firewall.rules(replace(OPEN, hosts=hosts), AM)
    assert {("ip", "10.0.0.11", "tcp", 9100), ("ip", "10.9.0.1", "tcp", 9100)} <= set(rules)


def test_a_daemon_that_has_yet_to_move_is_reached_at_both_ports():
    site = example_site(firewall="open", alertmanager_port=9193)
    argv = ("/usr/local/bin/alertmanager", "--web.listen-address=0.0.0.0:9093")
    running = replace(BLANK, processes={"alertmanager": Process(1, "/opt/alertmanager-0.35.0/alertmanager", argv)})
    before = replace(site, live=Live(looks={"am-1": running}))
    ports = {(source, port) for _, source, _, port in firewall.rules(before, before.hosts["am-1"])}
    assert {("10.0.0.11", 9093), ("10.0.0.11", 9193)} <= ports
    assert ("10.0.0.11", 9093) not in {(s, p) for _, s, _, p in firewall.rules(site, site.hosts["am-1"])}


def by_names(*names: str, management: str, **data) -> Site:
    """The site whose hosts of these names are known by DNS names."""
    site = example_site(**{"firewall": "open", **data})
    changed = {name: replace(site.hosts[name], address=f"{name}.example", management=management) for name in names}
    return Site({**site.hosts, **changed})


def of_am_1(site: Site) -> list:
    return list(_check_firewall(site, site.hosts["am-1"]))


def test_members_known_by_names_only_are_refused_once_for_each_host_that_opens():
    (finding,) = of_am_1(by_names("prom-1", "prom-2", "query-1", management="x.example"))
    assert (finding.host, finding.check, finding.severity) == ("am-1", "firewall", "fail")
    assert "(prom-1, prom-2)" in finding.found  # a querier dials no Alertmanager
    assert "service_address = its IP" in finding.wanted and '"leave"' in finding.wanted


def test_one_whose_ssh_hostname_is_an_address_may_dial_from_another():
    site = by_names("prom-1", management="192.0.2.1")
    (finding,) = of_am_1(site)
    assert finding.severity == "warn" and "(prom-1)" in finding.found
    assert ("ip", "192.0.2.1", "tcp", 9093) in firewall.rules(site, site.hosts["am-1"])


def test_names_are_no_matter_where_addresses_are_known_or_nothing_is_opened():
    assert of_am_1(by_names("prom-1", management="x.example", firewall="leave")) == []
    hosts = {**OPEN.hosts, "prom-1": replace(OPEN.hosts["prom-1"], management="x.example")}
    assert of_am_1(Site(hosts)) == []


def test_an_inventory_with_names_is_refused():
    data = {"firewall": "open", "replica": "a", "service_address": "prom.example"}
    hosts = {
        "prom-1": {"groups": ["prometheus"], "data": data},
        "am-1": {
            "groups": ["alertmanager"],
            "data": {
                "firewall": "open",
                "service_address": "10.0.0.21",
                "alertmanager_webhook_url": "secret:env:W",
            },
        },
    }
    with pytest.raises(SettingsErrors) as refused:
        site_from_dicts(hosts)
    assert [f.host for f in refused.value.findings if f.check == "firewall"] == ["am-1"]


def test_nothing_is_installed_where_it_is_left():
    site = example_site()
    assert not compare(firewall.component(site, site.hosts["am-1"], BLANK), BLANK)


# --- The tool, against stand-ins of the real ones that write down what they are told --------------

NFT = """#!/bin/sh
case "$1 $2" in
"list chains") cat "$WORLD/chains" ;;
"list chain") cat "$WORLD/chain $3 $4 $5" ;;
"-a list") cat "$WORLD/chain $4 $5 $6" ;;
"-f -") cat >>"$WORLD/said" ;;
*) echo "$@" >>"$WORLD/said" ;;
esac
"""
CHAINS = """table inet filter {
	chain input {
		type filter hook input priority filter; policy drop;
	}
	chain forward {
		type filter hook forward priority filter; policy drop;
	}
}
table ip old {
	chain in {
		type filter hook input priority 10; policy accept;
	}
}
"""
STRICT = """table inet filter {
	chain input {
		type filter hook input priority filter; policy drop;
		tcp dport 22 accept
	}
}
"""
FRIENDLY = """table ip old {
	chain in {
		type filter hook input priority 10; policy accept;
		tcp dport 80 accept
	}
}
"""


@pytest.fixture
def tool(tmp_path, monkeypatch):
    """The rendered tool, run with stand-ins for the commands given."""
    commands = tmp_path / "bin"
    commands.mkdir()
    monkeypatch.setenv("WORLD", str(tmp_path))
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    text = firewall.component(OPEN, AM, BLANK).files[FIREWALL].content
    script = tmp_path / "firewall"
    script.write_text(text.replace("/etc/.monitoring/", f"{tmp_path}/"))

    def run(action: str, **stand_ins: str) -> tuple[subprocess.CompletedProcess, str]:
        for name, content in stand_ins.items():
            path = commands / name.replace("_", "-")
            path.write_text(content)
            path.chmod(0o755)
        said = tmp_path / "said"
        said.unlink(missing_ok=True)
        done = subprocess.run(["sh", str(script), action], capture_output=True, text=True)
        return done, said.read_text() if said.exists() else ""

    def world(**files: str) -> None:
        for name, content in files.items():
            (tmp_path / name.replace("_", " ")).write_text(content)

    run.world = world
    return run


def test_nftables_are_opened_where_they_drop(tool):
    tool.world(chains=CHAINS, chain_inet_filter_input=STRICT, chain_ip_old_in=FRIENDLY)
    _, said = tool("open", nft=NFT)
    assert "add chain inet filter monitoring\nflush chain inet filter monitoring\n" in said
    assert "add rule inet filter monitoring ip saddr 10.0.0.11 tcp dport 9100 accept" in said
    assert "insert rule inet filter input jump monitoring" in said
    assert "old" not in said and "forward" not in said


def opened() -> tuple[str, str]:
    """The chains as `open` leaves them."""
    text = firewall.component(OPEN, AM, BLANK).files[FIREWALL].content
    mark = text.split("mark='")[1].split("'")[0]
    rules = [
        f'{family} saddr {source} {protocol} dport {port} accept comment "{mark}" # handle 9'
        for family, source, protocol, port in firewall.rules(OPEN, AM)
    ]
    ours = "table inet filter {\n\tchain monitoring {\n" + "\n".join(rules) + "\n\t}\n}\n"
    return STRICT.replace("tcp dport 22", "jump monitoring # handle 7\ntcp dport 22"), ours


def test_an_open_one_has_nothing_to_be_said_of(tool):
    strict, ours = opened()
    tool.world(chains=CHAINS, chain_inet_filter_input=strict, chain_ip_old_in=FRIENDLY)
    tool.world(chain_inet_filter_monitoring=ours)
    done, _ = tool("status", nft=NFT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    _, said = tool("open", nft=NFT)
    assert "insert" not in said


@pytest.mark.parametrize("lost", ["jump", "rule"])
def test_one_that_was_loaded_anew_says_so(tool, lost):
    strict, ours = opened()
    if lost == "rule":
        ours = "\n".join(line for line in ours.splitlines() if "udp" not in line)
    tool.world(chains=CHAINS, chain_ip_old_in=FRIENDLY, chain_inet_filter_monitoring=ours)
    tool.world(chain_inet_filter_input=STRICT if lost == "jump" else strict)
    assert tool("status", nft=NFT)[0].stdout.startswith("chain" if lost == "jump" else "table")


def test_closing_takes_back_what_opening_did(tool):
    strict, ours = opened()
    chains = CHAINS.replace("\tchain forward", "\tchain monitoring {\n\t}\n\tchain forward")
    tool.world(chains=chains, chain_inet_filter_input=strict, chain_ip_old_in=FRIENDLY)
    tool.world(chain_inet_filter_monitoring=ours, chain_inet_filter_forward="")
    _, said = tool("close", nft=NFT)
    assert said.splitlines() == [
        "delete rule inet filter input handle 7",
        "delete chain inet filter monitoring",
    ]


FIREWALLD = """#!/bin/sh
case "$*" in
--get-active-zones) printf 'public (default)\\n  interfaces: eth0\\n' ;;
*--list-rich-rules*) cat "$WORLD/rich" ;;
*) printf '%s\\n' "$*" >>"$WORLD/said" ;;
esac
"""


def test_firewalld(tool):
    """From its documentation, not from a run."""
    tool.world(rich="")
    stand_ins = {"firewall_cmd": FIREWALLD, "systemctl": "#!/bin/sh\n", "nft": NFT}
    _, said = tool("open", **stand_ins)
    rule = 'rule family="ipv4" source address="10.0.0.22" port port="9094" protocol="udp" accept'
    assert f"-q --zone=public --add-rich-rule={rule}" in said
    assert f"-q --permanent --zone=public --add-rich-rule={rule}" in said
    assert rule in tool("status", **stand_ins)[0].stdout
    tool.world(rich="\n".join(line.partition("rule=")[2] for line in said.splitlines()))
    assert tool("status", **stand_ins)[0].stdout == ""
    _, said = tool("close", **stand_ins)
    assert f"-q --permanent --zone=public --remove-rich-rule={rule}" in said


# --- Runs -----------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path, monkeypatch):
    def run(**options):
        # A directory of its own: pyinfra remembers group data by their path.
        place = tmp_path / str(len(list(tmp_path.iterdir())))
        place.mkdir()
        return run_site(place, monkeypatch, "--limit", "am-1", deploy="firewall", **options)

    return run


def test_a_run_opens_and_a_later_one_takes_it_back(run):
    done = run(data='firewall = "open"\n')
    assert done.rc == 0, done.output
    assert "10.1.0.22 udp 9094" in done.files["am-1"][FIREWALL]
    assert any("restart monitoring-firewall" in script for script in done.commands["am-1"])
    ours = {FIREWALL, UNIT}
    paths = {name: Path("f", "644", "root", "root", sha256="0") for name in ours}
    back = run(states={"am-1": replace(BLANK, manifests={"firewall": ours}, paths=paths)})
    script = next(s for s in back.commands["am-1"] if "disable" in s)
    assert script.index("disable --now monitoring-firewall") < script.index(f"rm -f {FIREWALL}")


def test_what_was_taken_away_is_opened_again(run):
    first = run(data='firewall = "open"\n')
    texts = first.files["am-1"]
    hashes = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}
    modes = {FIREWALL: "755", UNIT: "644"}
    state = replace(
        BLANK,
        paths={n: Path("f", modes[n], "root", "root", sha256=h) for n, h in hashes.items()},
        manifests={"firewall": set(texts)},
        units={"monitoring-firewall": {"ActiveState": "active", "UnitFileState": "enabled"}},
        stamps={"monitoring-firewall.started": hashes},
    )
    again = run(data='firewall = "open"\n', states={"am-1": state})
    assert again.commands["am-1"] == ["look"]
    state.extra = {"firewall": ["chain inet filter input does not ask them"]}
    lost = run(data='firewall = "open"\n', states={"am-1": state})
    assert lost.commands["am-1"] == ["look", "systemctl restart monitoring-firewall"]
