"""What a run remembers ends with it, and is one for all hosts."""

from __future__ import annotations

from types import SimpleNamespace

from prometheus_ha.deploys.lib.run.memory import kept

DEPLOY = "class _Seen(dict):\n    pass\n"


def executed() -> type:
    """The class of a deploy file, which pyinfra executes anew for each host."""
    namespace: dict = {"__name__": "builtins"}
    exec(DEPLOY, namespace)
    return namespace["_Seen"]


def test_a_deploy_file_that_is_executed_for_each_host_has_one_memory():
    state = SimpleNamespace()
    kept(executed(), state)["prom-1"] = 1
    kept(executed(), state)["prom-2"] = 2
    assert dict(kept(executed(), state)) == {"prom-1": 1, "prom-2": 2}


def test_another_run_remembers_nothing():
    kind = executed()
    kept(kind, SimpleNamespace())["prom-1"] = 1
    assert not kept(kind, SimpleNamespace())
