"""How often a test alert was notified, by what every Alertmanager counts: the drill's judgement, without a host."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from prometheus_ha.deploys.lib.ground.results import some
from prometheus_ha.facts.http import NO_ANSWER, Call, metrics, only_metrics, split
from prometheus_ha.facts.reports import alertmanager

SENT = Call("sent", "/metrics", only_metrics("alertmanager_notifications_total"))
DRILL_ALERT = "DrillTestAlert"
DRILL_LABEL = "drill"


@dataclass(frozen=True)
class Mailbox:
    """What one Alertmanager says while a test alert is under way."""

    report: alertmanager.Report
    sent: Mapping[tuple[str, str], float]
    """Notifications since its start, by integration and by receiver (empty where it does not say)."""

    def alerts(self, drill: str) -> list[alertmanager.Alert]:
        """The alerts of this drill."""
        return [alert for alert in self.report.alerts if alert.labels.get(DRILL_LABEL) == drill]


def read_mailbox(lines: list[str]) -> Mailbox:
    """The answers to `alertmanager.CALLS` and `SENT`. Raises FactProcessError for other text."""
    sent: dict[tuple[str, str], float] = {}
    for sample in metrics(split(lines).get("sent", NO_ANSWER).body):
        key = sample.labels.get("integration", ""), sample.labels.get("receiver_name", "")
        sent[key] = sent.get(key, 0) + sample.value
    return Mailbox(alertmanager.parse(lines), sent)


@dataclass(frozen=True)
class Notified:
    """Notifications of a test alert. `others` are alerts whose own could be among `count`."""

    count: int
    wanted: int
    others: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Exactly as many as wanted; at least as many, where others' cannot be told from them."""
        return self.count >= self.wanted if self.others else self.count == self.wanted

    def __str__(self) -> str:
        if not self.others:
            return f"{self.count} sent in all, {self.wanted} wanted"
        return (
            f"{self.count} sent in all, at least {self.wanted} wanted: those of "
            f"{some(self.others)} cannot be told from the drill's"
        )


def notified(
    before: Mapping[str, Mailbox],
    after: Mapping[str, Mailbox],
    drill: str,
    others: set[tuple[str, str]],
) -> Notified:
    """How many notifications the test alert made, over all Alertmanagers.

    From 0.27 on with `--enable-feature=receiver-name-in-metrics`, only those of the test alert's
    receivers are counted, and only other alerts of these receivers can be among them. Without it
    the counter is one for each integration, and any other alert's can be. `others` are name and
    receiver of all other alerts that were active meanwhile.
    """
    boxes = list(after.values())
    receivers = {name for box in boxes for alert in box.alerts(drill) for name in alert.receivers}
    named = all(receiver for box in boxes for _, receiver in box.sent)
    count = sum(
        value - before[name].sent.get(key, 0)
        for name, box in after.items()
        if name in before
        for key, value in box.sent.items()
        if not named or key[1] in receivers
    )
    mixed = {alert for alert, receiver in others if not named or receiver in receivers}
    return Notified(round(count), _integrations(boxes, receivers), tuple(sorted(mixed)))


def other_alerts(boxes: Iterable[Mailbox], drill: str) -> set[tuple[str, str]]:
    """Name and receiver of the alerts besides the drill's that may notify."""
    return {
        (alert.labels.get("alertname", "an alert without name"), receiver)
        for box in boxes
        for alert in box.report.alerts
        if alert.labels.get(DRILL_LABEL) != drill and alert.state != "suppressed"
        for receiver in alert.receivers
    }


def _integrations(boxes: list[Mailbox], receivers: set[str]) -> int:
    """How many notifications one alert makes: one for each integration of its receivers."""
    for box in boxes:
        defined = [r for r in box.report.config.get("receivers") or [] if r.get("name") in receivers]
        if defined:
            return sum(
                len(value or ()) for receiver in defined for key, value in receiver.items() if key.endswith("_configs")
            )
    return 1
