"""Silences that are made and ended: at one member, and seen at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pyinfra.api.exceptions import FactProcessError

from prometheus_ha.deploys.lib.engine.role import Gate, Progress
from prometheus_ha.deploys.lib.ground.durations import seconds
from prometheus_ha.deploys.lib.ground.findings import printable
from prometheus_ha.deploys.lib.ground.results import some
from prometheus_ha.deploys.lib.site.members import Member, Site
from prometheus_ha.deploys.lib.site.settings import Settings
from prometheus_ha.deploys.lib.survey.alerting.seen import (
    Seen,
    Silence,
    change,
    down,
    living,
    questions,
    read,
    read_change,
    rfc3339,
)
from prometheus_ha.deploys.lib.survey.alerting.table import has_silence, merged, named
from prometheus_ha.deploys.lib.survey.alerting.wanted import Clock, Refused, as_text, wanted_silence
from prometheus_ha.facts.http import Call


def post_silence(site: Site, member: Member, seen: Seen, settings: Settings, who: str) -> str:
    """The script that makes the silence that is asked for."""
    body = {
        "matchers": [
            {"name": m.label, "value": m.value, "isRegex": "~" in m.operator, "isEqual": "!" not in m.operator}
            for m in wanted_silence(settings)
        ],
        "startsAt": rfc3339(seen.clock),
        "endsAt": rfc3339(seen.clock + seconds(settings.silence_for)),
        "createdBy": who,
        "comment": settings.comment,
    }
    return change(site, member, Call("silence", "/api/v2/silences"), body)


def read_silence(lines: list[str]) -> str:
    """The id of the silence that was made. Refused where Alertmanager took none."""
    answer = read_change(lines, "silence")[1]
    try:
        if answer.ok:
            return str(answer.json()["silenceID"])
    except (FactProcessError, KeyError, TypeError):
        pass
    raise Refused(f"silence: Alertmanager did not take it: {printable(answer.problem or answer.body)}")


def silence_to_end(seen: Mapping[str, Seen], id: str) -> Silence:
    """The silence with this id, or with one that begins so."""
    known = {one.id: one for member in living(seen).values() for one in member.silences.values()}
    there = [one for one in known.values() if one.state != "expired"]
    found = [one for one in there if one.id.startswith(id)]
    if len(found) == 1:
        return found[0]
    if id in known:
        return known[id]
    listed = ", ".join(f"{one.id} ({as_text(one.conditions)})" for one in there) or "none is active or pending"
    what = f"{id!r}, which begins several" if found else repr(id)
    raise Refused(printable(f"end_silence: found {what}; expected: the id of a silence that is there: {listed}"))


def delete_silence(site: Site, member: Member, id: str) -> str:
    return change(site, member, Call("end", f"/api/v2/silence/{id}"))


def read_end(lines: list[str]) -> None:
    """Refused where Alertmanager did not end the silence."""
    answer = read_change(lines, "end")[1]
    if not answer.ok:
        raise Refused(f"end_silence: Alertmanager did not end it: {printable(answer.problem)}")


def spread(site: Site, member: Member, id: str, there: bool, tell: Callable[[Seen], None]) -> Gate:
    """To be followed on the host of a member: it opens once that one has the silence, or has it no more. `tell` gets
    what is seen."""

    def judge(lines: list[str]) -> Progress:
        seen = read(lines)
        if not seen.ok:
            return Progress(False, seen.problem)
        tell(seen)
        if has_silence(seen, id) == there:
            return Progress(True, "it is there" if there else "it is over")
        return Progress(False, f"it is {'not there yet' if there else 'still there'}")

    # Told at once, or with the whole state of another member.
    patience = 2 * seconds(member.settings.timing.pushpull_interval) + 5
    return Gate(questions(site, member), judge, patience)


def made(seen: Mapping[str, Seen], id: str, how: Clock) -> list[str]:
    """What is printed of a silence that was made."""
    alive = living(seen)
    one = next((member.silences[id] for member in alive.values() if id in member.silences), None)
    lines = ["", *down(seen), f"silence {id}"]
    if one:
        lines += [
            f"  until {how.at(one.ends)} ({how.name})",
            printable(f"  mutes {as_text(one.conditions)}"),
            printable(f"  made by {one.by}: {one.comment}"),
        ]
    alerts = {fingerprint: next(iter(them.values())) for fingerprint, them in merged(seen).items()}
    muted = {f for member in alive.values() for f, alert in member.alerts.items() if id in alert.silenced}
    called = [named(alerts[fingerprint], alerts.values()) for fingerprint in alerts if fingerprint in muted]
    lines.append(f"  now it mutes {some(called, 20)}" if called else "  no alert that fires now is muted by it")
    return [*lines, f"to end it: --data end_silence={id}"]


def ended(seen: Mapping[str, Seen], silence: Silence, how: Clock) -> list[str]:
    """What is printed of a silence that was ended, now or before."""
    words = f"silence {silence.id} ({as_text(silence.conditions)}; {silence.by}: {silence.comment})"
    said = (
        f"had ended at {how.at(silence.ends)} ({how.name}) already: nothing was done"
        if silence.state == "expired"
        else "is ended"
    )
    return ["", *down(seen), printable(f"{words} {said}")]
