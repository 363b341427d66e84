"""What starter rules are made of. Which there are, the roles say.

An `Alert` is what is the same of an alert at every site; a role makes rules of it where the site has what it watches.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_ha.deploys.lib.common import strangers
from prometheus_ha.deploys.lib.daemons import DAEMONS, Ref, of
from prometheus_ha.deploys.lib.daemons.declare import Daemon
from prometheus_ha.deploys.lib.ground.durations import seconds
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.deploys.lib.site.settings import Settings, rule_groups
from prometheus_ha.deploys.lib.site.web import Data


def selected(targets: Mapping[str, Iterable[str]]) -> str:
    """The selector, without its braces, of some targets of ours: job -> `address:port`, which is their `instance`."""
    instances = list(dict.fromkeys(one for found in targets.values() for one in found))
    return f'{_of_jobs(targets)}, instance=~"{any_of(instances)}"'


def ours(site: Site, member: Member, *watched: Ref) -> str:
    """The selector, without its braces, of all that this Prometheus scrapes of `watched`.

    By job, so that a host that comes or goes changes no rule; by instance as well, where a stranger may have that job:
    nobody is woken for it.
    """
    targets = {
        of(daemon).job_name: [site.endpoint(daemon, m).target for m in members]
        for daemon in watched
        if (members := site.scraped(member, daemon))
    }
    return selected(targets) if strangers.may_have(member, targets) else _of_jobs(targets)


def _of_jobs(jobs: Collection[str]) -> str:
    return f'job="{next(iter(jobs))}"' if len(jobs) == 1 else f'job=~"{any_of(jobs)}"'


def watched(site: Site, member: Member) -> list[Daemon]:
    """The daemons of which this Prometheus scrapes one at least."""
    return [info for info in DAEMONS.values() if site.scraped(member, info)]


ALERTS: dict[str, Alert] = {}
"""Every alert that was declared, by its name."""

HOST = "{{ or $labels.host $labels.instance }}"
"""`<host>` in a text. A target of ours has the label; one of a stranger's may lack it."""


@dataclass(frozen=True)
class Alert:
    """What is the same of an alert at every site. `<word>` in its texts and its expression is filled in by `rules`."""

    name: str
    chapter: str
    """File in docs/runbooks, without its end, that has a section of this name: what to do."""
    levels: Mapping[str, float | None]
    """Severity -> `<threshold>` of the expression, None where it has none: a rule for each."""
    summary: str
    description: str
    patience: int = 1
    """How many times the `for` of the timing profile it lasts before it fires; 0: it fires at once."""
    counts: str = ""
    """What the threshold is, with its unit, for the docs."""

    def __post_init__(self) -> None:
        if self.name in ALERTS:
            raise TypeError(f"two alerts are called {self.name}")
        ALERTS[self.name] = self

    def rules(self, member: Member, expr: str, **words: object) -> list[Data]:
        """Its rules for the Prometheus of `member`, whose settings have the last word: they may switch it off."""
        changed = member.settings.starter_alerts.get(self.name)
        if changed is False:
            return []
        for_ = _lasts(member, self.patience)
        found = []
        for severity, threshold in self.levels.items():
            if changed:
                for_ = for_ if changed.for_ is None else changed.for_
                threshold = changed.threshold_of(severity, threshold)
                severity = changed.severity or severity
            known = words | {"host": HOST} | ({} if threshold is None else {"threshold": _plain(threshold)})
            found.append(
                {
                    "alert": self.name,
                    "expr": _filled(expr, known),
                    **({"for": for_} if for_ else {}),
                    "labels": {"severity": severity},
                    "annotations": {
                        "summary": _filled(self.summary, known),
                        "description": _filled(self.description, known),
                        "runbook_url": member.settings.runbook_url.replace("{chapter}", self.chapter).replace(
                            "{alert}", self.name.lower()
                        ),
                    },
                }
            )
        return found


def _filled(text: str, words: Mapping[str, object]) -> str:
    for word, value in words.items():
        text = text.replace(f"<{word}>", str(value))
    return text


def _plain(number: float) -> str:
    """Without an exponent, which PromQL reads, and people do not."""
    return f"{number:.12f}".rstrip("0").rstrip(".")


def _lasts(member: Member, patience: int) -> str:
    """So many times the `for` of the profile; empty for 0."""
    one = member.settings.timing.for_
    return one if patience == 1 else milliseconds(patience * seconds(one)) if patience else ""


def window(member: Member, *steps: Any, count: int = 4) -> str:
    """A range for the rate of what is counted once in each of `steps`, and is scraped: some of the longest."""
    return milliseconds(count * max(map(lasting, (member.settings.scrape_interval, *steps))))


def intervals(rules: Mapping[str, Data], settings: Settings) -> Iterator[Any]:
    """How often groups of rules are evaluated."""
    groups = [group for file in rules.values() for group in rule_groups(file).get("groups") or []]
    yield settings.evaluation_interval
    yield from values(groups, "interval")


def values(maps: Iterable[Mapping[str, Any]], key: str) -> Iterator[Any]:
    return (one[key] for one in maps if one.get(key))


def lasting(duration: Any) -> float:
    """Seconds; 0 for what is no duration, which is upstream's to refuse."""
    try:
        return seconds(str(duration))
    except ValueError:
        return 0.0


def any_of(words: Iterable[str]) -> str:
    """A regular expression (RE2) for a PromQL string in double quotes that matches one of `words`."""
    return "|".join(_quoted(re.sub(r"[.+*?()|\[\]{}^$\\]", _literally, word)) for word in words)


def _literally(found: re.Match) -> str:
    """One character of a regular expression that stands for itself; read well too where the string is quoted."""
    return f"\\{found[0]}" if found[0] in "^\\" else f"[{found[0]}]"


def _quoted(text: str) -> str:
    """`text` inside the double quotes of PromQL, which knows the escapes of Go."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def milliseconds(value: float) -> str:
    whole = round(value * 1000)
    return f"{whole}ms" if whole % 1000 else f"{whole // 1000}s"


_GROUP = "prometheus_rule_group"


def slow_group(ours: str, times: object = 1) -> str:
    """Groups of rules whose last evaluation took more than so many times their interval."""
    return f"{_GROUP}_last_duration_seconds{{{ours}}} > {times} * {_GROUP}_interval_seconds{{{ours}}}"


def overdue_group(ours: str, times: object) -> str:
    """Groups of rules that were not evaluated for so many of their intervals, or not at all since the start."""
    last, interval = f"{_GROUP}_last_evaluation_timestamp_seconds{{{ours}}}", f"{_GROUP}_interval_seconds{{{ours}}}"
    # It is 0 until the first evaluation.
    running = f"({last} == 0) + on (instance) group_left () (time() - process_start_time_seconds{{{ours}}})"
    return f"time() - ({last} > 0) > {times} * {interval}\nor {running} > {times} * {interval}"


def reload_alert(title: str, chapter: str) -> Alert:
    """The alert that a daemon goes on with the configuration of before, for `reload_failed`."""
    return Alert(
        f"{title}ConfigReloadFailed",
        chapter,
        {"critical": None},
        f"{title} on <host> refused its configuration",
        "It goes on with the configuration it had, and would not start again with the one on disk. journalctl -u "
        "<unit> on the host names the mistake; the next run of the deploy mends a file that was edited by hand.",
    )


def reload_failed(site: Site, member: Member, failed: Alert, daemon: Daemon, *more: Daemon) -> list[Data]:
    """That the last reload of a daemon failed, or of one of `more` that are the same program."""
    if not site.scraped(member, daemon.name):
        return []
    targets = ours(site, member, daemon.name, *(one.name for one in more))
    return failed.rules(member, f"{daemon.name}_config_last_reload_successful{{{targets}}} == 0", unit=daemon.unit)


CANNOT_STORE = Alert(
    "ObjectStoreCannotStore",
    "storage",
    {"critical": None},
    "<daemon> on <host> can store nothing more",
    "Blocks wait on the local disks until it can, and are lost once retention drops them. Its disk is full or "
    "broken: see df and journalctl -u <unit> on the host.",
)


def cannot_store(site: Site, member: Member, daemon: Daemon, expr: str) -> list[Data]:
    """An object store of ours that answers, and has nowhere to store. That it does not answer is TargetDown."""
    if not site.scraped(member, daemon.name):
        return []
    expr = expr.replace("%s", ours(site, member, daemon.name))
    found = CANNOT_STORE.rules(member, expr, daemon=daemon.name, unit=daemon.unit)
    return [rule | {"labels": rule["labels"] | {"daemon": daemon.name}} for rule in found]
