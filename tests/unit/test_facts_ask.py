"""Facts of daemons ask where the host's daemon listens by its settings, as `pyinfra inventory.py fact ...` does."""

from __future__ import annotations

import pytest
from pyinfra.api import Config, Inventory, State
from pyinfra.api.exceptions import FactValueError, PyinfraError
from pyinfra.context import ctx_host, ctx_inventory, ctx_state

from prometheus_ha.facts.alertmanager import Alertmanager
from prometheus_ha.facts.prometheus import Prometheus
from prometheus_ha.facts.thanos import Component, Querier, Sidecar

CLIENT = {"basic_auth": {"username": "me", "password": "secret:env:NOBODY_READS_IT"}}
TLS = {
    "web_config": {
        "tls_server_config": {"cert_file": "a.pem", "key_file": "a.key"},
        "basic_auth_users": {"me": "secret:env:NOBODY_READS_IT"},
    },
    "web_client": {**CLIENT, "tls_config": {"ca_file": "ca.pem"}},
    "web_files": {name: "secret:env:NOBODY_READS_IT" for name in ("a.pem", "a.key", "ca.pem")},
}


@pytest.fixture
def asked():
    """The command of a fact on a host with these groups and this data."""

    def command(fact, *groups: str, **data):
        own = {"ssh_hostname": "10.1.0.9", **data}
        inventory = Inventory((["here"], {}), **{g: (["here"], own) for g in groups})
        state = State(inventory, Config())
        with (
            ctx_state.use(state),
            ctx_inventory.use(inventory),
            ctx_host.use(inventory.get_host("here")),
        ):
            return fact().command()

    return command


@pytest.mark.parametrize(
    ("fact", "group", "setting"),
    [
        (Prometheus, "prometheus", "prometheus_port"),
        (Prometheus, "upper", "prometheus_port"),
        (Alertmanager, "alertmanager", "alertmanager_port"),
        (Querier, "querier", "querier_port"),
        (Sidecar, "prometheus", "sidecar_http_port"),
        (Component, "rule", "rule_http_port"),
        (Component, "receive", "receive_http_port"),
        (Component, "query_frontend", "frontend_port"),
    ],
)
def test_facts_ask_where_the_settings_say(asked, fact, group, setting):
    data = {"replica": "a", "alertmanager_webhook_url": "secret:env:NOBODY", setting: 19999}
    groups = {group, *(("querier",) if group in ("query_frontend", "rule") else ())}
    data |= {"receive_replication": 1} if group == "receive" else {}
    assert "http://10.1.0.9:19999/" in asked(fact, *sorted(groups), **data)


def test_with_the_scheme_and_the_credentials_of_the_site(asked):
    command = asked(Prometheus, "prometheus", replica="a", prometheus_port=9099, **TLS)
    assert "https://10.1.0.9:9099/" in command
    assert "curl-tls.conf" in command and "curl-user.conf" in command


def test_the_prometheus_beside_a_sidecar_of_ours(asked):
    data = {"attached_data_dir": "/srv/prometheus", "attached_url": "http://127.0.0.1:9099/prom"}
    assert "http://127.0.0.1:9099/prom/" in asked(Prometheus, "sidecar", **data)


def test_one_of_several_is_to_be_named(asked):
    bucket = {"type": "FILESYSTEM", "config": {"directory": "/srv/bucket"}}
    with pytest.raises(FactValueError, match=r"url=http://127.0.0.1:10912 \(thanos-compactor\)"):
        asked(Component, "compactor", "store", bucket_config=bucket)


def test_a_host_without_a_part_is_asked_at_the_default(asked):
    assert "http://127.0.0.1:9090/" in asked(Prometheus)


def test_a_site_that_cannot_be_read_says_so(asked):
    with pytest.raises(PyinfraError, match="prometheus_port"):
        asked(Prometheus, "prometheus", replica="a", prometheus_port="x")


def test_an_address_that_is_given_is_asked():
    assert "http://127.0.0.1:1/" in Prometheus().command("http://127.0.0.1:1")
