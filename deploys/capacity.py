"""How much memory, disk and bucket the site needs, beside what it uses and what its hosts have. Read-only.

    pyinfra -y inventory.py deploys/capacity.py

Reckoned from the inventory and the setting `capacity` (lib/survey/capacity.py): it can be asked before there is a
site, and on blank hosts. The Prometheus hosts are looked at and their Prometheus asked; one table is printed on stderr,
as pyinfra's messages are. A host that has less than the estimate is a warning, and fails nothing.
"""

from pyinfra import host, logger, state
from pyinfra.api import operation
from pyinfra.api.output import format_text

from prometheus_ha.deploys import preflight
from prometheus_ha.deploys.lib import daemons
from prometheus_ha.deploys.lib.run import rollout
from prometheus_ha.deploys.lib.run.look import look_at_host
from prometheus_ha.deploys.lib.run.memory import kept
from prometheus_ha.deploys.lib.survey import capacity
from prometheus_ha.facts.probe import probe


class _Reckoned(dict[str, capacity.Seen]):
    """What this run has seen, by host."""


@operation()
def _ask():
    """Look at a Prometheus host and ask its Prometheus. Nothing is changed, so nothing is yielded."""
    yield from ()
    if state.is_executing and rollout.member() in rollout.site().running(daemons.PROMETHEUS):
        script = capacity.questions(rollout.site(), rollout.member())
        answer = probe(host, script)
        kept(_Reckoned)[host.name] = capacity.Seen(look_at_host(), capacity.read(answer))


@operation()
def _report():
    """The first living host prints the table of all."""
    yield from ()
    living = rollout.living()
    if state.is_executing and host.name == next(n for n in rollout.site().hosts if n in living):
        results = capacity.findings(rollout.site(), kept(_Reckoned))
        for line in capacity.table(rollout.site(), kept(_Reckoned), results):
            style = {"fg": "yellow"} if line.startswith("warn") else {}
            logger.info(format_text(line, **style))


def deploy() -> None:
    """Print the estimate."""
    _ask(name="capacity: look at the Prometheus hosts and ask Prometheus")
    _report(name="capacity: the site")


def run() -> None:
    """As a run of its own."""
    preflight.settings()
    deploy()


if __name__ == "builtins":  # as a deploy file
    run()
