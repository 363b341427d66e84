"""Hosts as they are: each odd host ends well, or is refused before anything was changed, with the way out.

The first line of a test's docstring is the condition, as docs/hosts.md names it.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from tests.drills.site import shell
from tests.lab import hosts, plan
from tests.odd.site import PROMETHEUS, blank, deployed, refused, run

NODE = {"node_exporter": {"odd-1": {}}}


def test_foreign_process() -> None:
    """A foreign process on a port of ours"""
    blank("odd-1")
    foreign = "legacy-exporter"
    shell("odd-1", f"systemd-run -q --unit={foreign} systemd-socket-activate -l 9100 cat")
    pid = shell("odd-1", f"systemctl show -p MainPID --value {foreign}")
    refused(NODE, "9100", foreign, "node_exporter_port")
    deployed({"node_exporter": {"odd-1": {"node_exporter_port": 9101}}})
    assert "node_exporter_build_info" in shell("odd-1", "curl -s 127.0.0.1:9101/metrics")
    assert shell("odd-1", f"systemctl show -p MainPID --value {foreign}") == pid


def test_existing_user() -> None:
    """A user `prometheus` with another uid, home and shell"""
    blank("odd-1")
    shell("odd-1", "useradd -u 4242 -m -d /home/prometheus -s /bin/bash prometheus")
    refused(NODE, "/bin/bash", "usermod")
    shell("odd-1", "usermod -s /usr/sbin/nologin prometheus")
    account = shell("odd-1", "getent passwd prometheus")
    deployed(NODE)
    assert shell("odd-1", "getent passwd prometheus") == account
    assert shell("odd-1", "ps -o uid= -C node_exporter").strip() == "4242"


def test_read_only_usr_local() -> None:
    """`/usr/local` read-only"""
    blank("odd-1")
    shell("odd-1", "mount --bind /usr/local /usr/local && mount -o remount,bind,ro /usr/local")
    refused(NODE, "/usr/local", "read-only")
    shell("odd-1", "mount -o remount,bind,rw /usr/local")
    deployed(NODE)


def test_noexec_opt() -> None:
    """`/opt` mounted `noexec`"""
    blank("odd-1")
    shell("odd-1", "mount -t tmpfs -o noexec odd /opt")
    refused(NODE, "/opt", "noexec")
    shell("odd-1", "mount -o remount,exec /opt")
    deployed(NODE)


def test_full_disk() -> None:
    """A nearly full disk"""
    blank("odd-1")
    shell("odd-1", "mount -t tmpfs -o size=15m odd /opt")
    refused(NODE, "16 MB free on /opt")
    shell("odd-1", "mount -o remount,size=500m /opt")
    deployed(NODE)


PASSWORD = "sudo $pass 'word'"
SUDO = f"""
mkdir -p -m 700 /home/ops/.ssh
cp /root/.ssh/authorized_keys /home/ops/.ssh/
chown -R ops: /home/ops/.ssh
chpasswd <<'END'
ops:{PASSWORD}
END
echo 'ops ALL=(ALL) ALL' >/etc/sudoers.d/ops
"""


def test_sudo_with_a_password() -> None:
    """sudo asks for a password"""
    blank("odd-1")
    shell("odd-1", SUDO)
    site = {"node_exporter": {"odd-1": {"ssh_user": "ops", "_sudo": True}}}
    done = refused(site, "odd-1", "sudo", "--same-sudo-password")
    assert "Traceback" not in done.log
    done = deployed(site, "--same-sudo-password", stdin=f"{PASSWORD}\n")
    assert PASSWORD not in done.log
    # What the login prints is not taken for the file that hands the password over.
    talk = "usermod -s /bin/bash ops; printf 'echo hello; printf unended' >~ops/.bashrc; chown ops ~ops/.bashrc"
    shell("odd-1", talk)
    again = run(site, "--same-sudo-password", stdin=f"{PASSWORD}\n")
    assert (again.status, again.changed) == (0, {}), str(again)
    assert shell("odd-1", "ls -A /tmp | grep pyinfra || true") == ""


def test_no_root() -> None:
    """A user without `_sudo`"""
    blank("odd-1")
    shell("odd-1", SUDO)
    shell("odd-1", "echo 'ops ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/ops")
    user = {"ssh_user": "ops"}
    done = refused({"node_exporter": {"odd-1": user}}, "run as ops", '"_sudo": True')
    assert "another run" not in done.log
    deployed({"node_exporter": {"odd-1": {**user, "_sudo": True}}})


def test_no_source() -> None:
    """No way to the releases"""
    blank("odd-1")
    nobody = f"http://{plan.LAB.address('odd-2')}:9"
    refused(NODE, "source", nobody, "download_proxy", base_url=nobody)
    refused(NODE, "source", plan.LAB.address("odd-2"), download_proxy=nobody)
    deployed(NODE)
    assert run(NODE, base_url=nobody).status == 0, "nothing is to be fetched, and nothing is asked"


def test_another_address() -> None:
    """Another `service_address` than before, which no interface has"""
    blank("odd-1")
    deployed(NODE)
    address, other = plan.LAB.address("odd-1"), plan.LAB.address("odd-2")
    wrong = {"service_address": other}
    refused({"node_exporter": {"odd-1": wrong}}, f"{other}, which no interface has", address)
    nat = {**wrong, "preflight": {"address": "off"}}
    assert run({"node_exporter": {"odd-1": nat}}).status == 0


def test_bastion(tmp_path: Path) -> None:
    """SSH only through a bastion"""
    blank("odd-1", "odd-2")
    bastion, address = plan.LAB.address("odd-1"), plan.LAB.address("odd-2")
    _load_rules("odd-2", f"tcp dport 22 ip saddr != {bastion} drop")
    common = f"""
  User root
  IdentityFile {plan.LAB.ssh_key}
  UserKnownHostsFile {plan.LAB.known_hosts}
  StrictHostKeyChecking yes
"""
    config = tmp_path / "ssh_config"
    config.write_text(
        f"Host bastion\n  HostName {bastion}{common}Host inside\n  HostName {address}\n  ProxyJump bastion{common}"
    )
    direct = {"ssh_paramiko_connect_kwargs": {"timeout": 3}}
    assert "odd-2] Could not connect" in run({"node_exporter": {"odd-2": direct}}).log
    jump = {
        "ssh_config_file": str(config),
        "ssh_hostname": "inside",
        "service_address": address,
    }
    deployed({"node_exporter": {"odd-2": jump}})


def _load_rules(host: str, *rules: str) -> None:
    lines = "\n".join(rules)
    shell(
        host,
        f"nft -f - <<'END'\ntable inet odd {{\nchain input {{\n"
        f"type filter hook input priority filter;\n{lines}\n}}\n}}\nEND",
    )


def test_talkative_login() -> None:
    """A login that prints something of its own at every command"""
    blank("odd-1")
    greeting = "echo active; echo '==[name]== ready'; echo ours; echo 1; echo oops >&2"
    shell("odd-1", f"printf '%s\\n' {shlex.quote(greeting)} | tee /root/.bashrc /root/.profile")
    assert hosts.ssh(plan.LAB, "odd-1", "true").stdout.split()[0] == "active"
    deployed({"prometheus": {"odd-1": PROMETHEUS}, "alertmanager": {"odd-1": {}}})


NO_SFTP = """
sed -i '/^Subsystem/d' /etc/ssh/sshd_config
sshd -t
systemctl reload ssh
"""


def test_offline_without_sftp() -> None:
    """`offline = True`, and an SSH server without SFTP"""
    blank("odd-1")
    shell("odd-1", NO_SFTP)
    done = deployed(NODE, offline=True)
    assert "upload node_exporter-" in done.log, str(done)
    shell("odd-1", "rm -rf /opt/node_exporter-* /opt/software/*; mv $(command -v scp) /root/scp")
    done = run(NODE, offline=True)
    assert done.status == 1 and "cannot be uploaded (sftp: " in done.log, str(done)
