"""Several HTTP questions to a daemon in one shell command, and the reading of the answers."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyinfra.api.exceptions import FactProcessError

# Bodies are JSON on one line or metrics, in which a newline is always escaped: no line of theirs
# can begin like this.
_MARK = re.compile(r"^==\[(?P<what>name|status|exit)\]== (?P<value>.*)$")

SECONDS = 5
"""How long a question may take."""
# -q: no ~/.curlrc; --noproxy: the daemon is beside us, whatever the environment says;
# -g: brackets in a URL are an IPv6 address. No -f: the body of a refusal says why.
_CURL = ("curl", "-q", "-gsS", "--noproxy", "*", "--max-time", str(SECONDS))


@dataclass(frozen=True)
class Call:
    """One question: ``name`` in the answers, ``path`` below the base URL, and a shell ``filter``.

    The filter reads the answer on the host, so that less is sent; it must let marker lines pass.
    """

    name: str
    path: str
    filter: str = ""


TIMED_OUT = f"no answer within {SECONDS} s"
"""The problem of an answer that did not come in time."""
_CURL_SAYS = re.compile(r"curl: \((?P<code>\d+)\) (?P<text>.*)")
_CONNECT = re.compile(r"(?:to|connect to) \[?(?P<host>[^ \]]+)\]? port (?P<port>\d+)")


def in_words(error: str) -> str:
    """What curl says of a question, in the trade's words."""
    said = _CURL_SAYS.search(error)
    if said is None:
        return error
    code, text = said["code"], said["text"].strip()
    if code == "7":
        where = _CONNECT.search(text)
        return f"no connection to {where['host']}:{where['port']}" if where else f"no connection ({text})"
    words = {"6": "its name has no address", "28": TIMED_OUT, "52": "it closed without an answer"}
    return words.get(code, text)


@dataclass(frozen=True)
class Answer:
    """What came: ``status`` is 0 where nobody answered in full, and ``error`` then says why."""

    status: int
    body: str
    error: str = ""

    @property
    def ok(self) -> bool:
        """True for 200 with the whole body."""
        return self.status == 200 and not self.error

    @property
    def problem(self) -> str:
        """One line for people, empty when all is well."""
        if self.ok:
            return ""
        said = " ".join(self.body.split())[:200]
        return in_words(self.error) or f"HTTP {self.status}{': ' + said if said else ''}"

    def json(self) -> Any:
        """The body as data.

        :raises FactProcessError: where it is not JSON, with what was found.
        """
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise FactProcessError(f"no JSON ({error}), found: {self.body[:300]!r}") from error


NO_ANSWER = Answer(0, "", "not asked")


def script(base_url: str, calls: Sequence[Call], extra: Sequence[str] = ()) -> str:
    """The shell command that puts ``calls`` to ``base_url``; it always succeeds.

    When nobody answers the first call, the others are left out: each would wait as long.

    :param extra: more curl options, the same for all calls. They are visible in the host's process
        list, so a credential comes as ``("--config", FILE)``, FILE readable by root alone.
    """
    options = " ".join(shlex.quote(word) for word in (*_CURL, *extra))
    lines = [
        "(",
        "ask() {",
        'echo; echo "==[name]== $1"',
        f"{options} -w '\\n==[status]== %{{http_code}}\\n' \"$2\" 2>&1 && return 0",
        'echo "==[exit]== $?"; return 1',
        "}",
    ]
    for position, call in enumerate(calls):
        url = shlex.quote(base_url.rstrip("/") + call.path)
        after = f" | {call.filter}" if call.filter else "" if position else " || exit 0"
        lines.append(f"ask {shlex.quote(call.name)} {url}{after}")
    return "\n".join([*lines, ") || true"])


def split(lines: Iterable[str]) -> dict[str, Answer]:
    """The answers of ``script``, by the names of its calls.

    :raises FactProcessError: where the text was not printed by ``script``.
    """
    answers: dict[str, Answer] = {}
    body: list[str] = []
    name, status, code = "", 0, ""

    def close() -> None:
        if not name:
            return
        text = "\n".join(body).strip()
        if code or not status:
            says = [line for line in body if line.startswith("curl:") or "curl: not found" in line]
            why = says[-1] if says else text[-200:] or f"curl exit {code or 'unknown'}"
            answers[name] = Answer(0, text, why)
        else:
            answers[name] = Answer(status, text)

    for line in lines:
        mark = _MARK.match(line)
        if mark is None:
            body.append(line)
        elif mark["what"] == "name":
            close()
            name, status, code, body = mark["value"], 0, "", []
        elif mark["what"] == "status":
            status = int(mark["value"]) if mark["value"].isdecimal() else 0  # cut off
        else:
            code = mark["value"]
    close()
    if not answers:
        raise FactProcessError(f"no answers in: {' | '.join(body)[:300]!r}")
    return answers


def data(answers: Mapping[str, Answer], name: str, errors: dict[str, str]) -> Any:
    """The ``data`` of a call of Prometheus' or Thanos' API, or None with the reason in ``errors``.

    :raises FactProcessError: where the answer is 200 and not of that API's form.
    """
    answer = answers.get(name, NO_ANSWER)
    if not answer.ok:
        errors[name] = answer.problem
        return None
    reply = answer.json()
    if not isinstance(reply, dict) or reply.get("status") != "success" or "data" not in reply:
        raise FactProcessError(f"{name}: not an API answer, found: {answer.body[:300]!r}")
    return reply["data"]


@dataclass(frozen=True)
class Sample:
    """One line of a metrics page."""

    name: str
    labels: dict[str, str]
    value: float


_SAMPLE = re.compile(r"^(?P<name>[A-Za-z_:][\w:]*)(?:\{(?P<labels>.*)\})?\s+(?P<value>[-+]?(?:[\d.]\S*|Inf|NaN))")
_LABEL = re.compile(r'\s*(?P<name>[A-Za-z_]\w*)="(?P<value>(?:[^"\\]|\\.)*)"\s*,?')
_ESCAPE = re.compile(r"\\(.)")


def metrics(text: str) -> list[Sample]:
    """The samples of a page in Prometheus' text format; other lines are passed over."""
    samples = []
    for line in text.splitlines():
        match = _SAMPLE.match(line)
        if match is None:
            continue
        labels = {
            label["name"]: _ESCAPE.sub(lambda escape: "\n" if escape[1] == "n" else escape[1], label["value"])
            for label in _LABEL.finditer(match["labels"] or "")
        }
        try:
            samples.append(Sample(match["name"], labels, float(match["value"])))
        except ValueError:
            continue
    return samples


def metric(samples: Iterable[Sample], name: str, **labels: str) -> float | None:
    """The sum of the samples of that name which carry these labels; None where there is none."""
    values = [sample.value for sample in samples if sample.name == name and labels.items() <= sample.labels.items()]
    return sum(values) if values else None


def only_metrics(*names: str) -> str:
    """A filter for a ``Call`` of a metrics page: these metrics, and what ``split`` needs."""
    return f"grep -E '^(==\\[|curl: |({'|'.join(names)})[ {{])'"
