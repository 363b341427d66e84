"""What a run did: a record on the control machine, a summary on each host, and the locks that it holds meanwhile.

`Run` listens to pyinfra: its first operation begins the record, each one adds to it, so that a run that was killed
leaves one that says `unfinished`. Records are JSON files in `.runs/` of the site's directory.
"""

from __future__ import annotations

import getpass
import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Callable, Container, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import click
from pyinfra import logger
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.output import format_text
from pyinfra.api.state import BaseStateCallback

from prometheus_ha.deploys.lib.common import faults
from prometheus_ha.deploys.lib.daemons.declare import Own
from prometheus_ha.deploys.lib.engine.service import running_version
from prometheus_ha.deploys.lib.ground import folder, lock, topology
from prometheus_ha.deploys.lib.ground.secrets import redact
from prometheus_ha.deploys.lib.run import plan, textfile
from prometheus_ha.deploys.lib.run.hosts import at_once
from prometheus_ha.deploys.lib.run.memory import kept
from prometheus_ha.deploys.lib.site.members import Site
from prometheus_ha.facts.probe import probe
from prometheus_ha.facts.reports.look import State

DIRECTORY = ".runs"
KEPT = 200
"""Records that are kept on the control machine, the newest ones."""
SECONDS = 10
"""How long a host may take to be told that the run is over for it."""


def now() -> str:
    """The time as records have it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def command_line(options: Mapping[str, Any]) -> str:
    """The run's command line, as far as it is known to hold no secret: of `--data`, the names only."""
    words = ["pyinfra", *(["-y"] if options.get("yes") else [])]
    for name in ("limit", "exclude", "group_data"):
        for value in options.get(name) or ():
            words += [f"--{name.replace('_', '-')}", value]
    for entry in options.get("data") or ():
        words += ["--data", f"{entry.partition('=')[0]}=..."]
    return " ".join([*words, str(options.get("inventory", "")), *options.get("operations", ())])


def lock_name(inventory: str | None) -> str:
    """The lock of runs on this inventory, in its site's directory, which may have several."""
    path = Path(inventory or "")
    words = path.name if path.is_file() else inventory
    return f"lock.{re.sub(r'[^A-Za-z0-9.-]+', '_', words or '')[-100:]}"


def commit(directory: Path) -> str | None:
    """The commit of the checkout, with `-dirty` where files differ from it; None where it is none."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude", "*"]
    try:
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def write(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record, whole or not at all, for its owner only."""
    part = path.with_suffix(".part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(redact(json.dumps(record, indent=2)) + "\n")
    part.replace(path)


def prune(directory: Path, kept: int = KEPT) -> None:
    """Remove all records but the newest; their names sort by time."""
    for path in sorted(directory.glob("*.json"))[:-kept]:
        path.unlink(missing_ok=True)


def summary(record: Mapping[str, Any], host: str, ended: str | None, result: str) -> str:
    """The last run as a host remembers it; `ended` is None while it is at work there."""
    changed = record["changed"].get(host, [])
    if not ended:
        changed = ["not known here: what a run came to is written at its end"]
    lines = {
        "run": record["run"],
        "who": record["who"],
        "command": record["command"],
        "commit": record["commit"] or "none",
        "began": record["started"],
        "ended": ended or "no end recorded",
        "result": result,
        "changed": "\n  ".join(["", *changed]) if changed else "nothing",
    }
    return redact("\n".join(f"{key}: {text}".replace(": \n", ":\n") for key, text in lines.items()))


CONNECT = "connect"
"""The step at which hosts fail that cannot be reached."""


class Run(BaseStateCallback):
    """A run that changes hosts, from its first operation to its last."""

    def __init__(self, state, site: Site, announcements: Callable[[], list[str]] = list):
        self.state, self.site = state, site
        self.announcements = announcements
        """What the operator is told of the whole site, once all hosts were looked at."""
        self.began = self.closed = False
        self.last: str | None = None
        self.answers: dict[str, lock.Answer] = {}
        self.changing: set[str] = set()
        self.failed_before: set[str] = set()
        """The hosts on which the last run that changed them did not come to its end."""
        self.told: set[str] = set()
        self.started: dict[str, set[str]] = {}
        """Host -> the units that this run started there, whose crashes systemd counts anew."""
        self.step = ""
        self.judged = False
        self.clock: dict[str, float] = {}
        self.file: IO[str] | None = None
        self.path: Path | None = None
        self.holder: lock.Holder
        self.record: dict[str, Any] = {}
        self.options: Mapping[str, Any] = {}
        """Those of pyinfra's command line."""

    @property
    def ended(self) -> bool:
        """Whether it took its last step, or ends because of hosts that failed."""
        return self.began and (self.last in self.clock or bool(self.record["failed"]))

    def command_of(self, deploy: str) -> str:
        """The command line of another deploy on this site, in the way in which this run was started."""
        operation = next(iter(self.options.get("operations", ())), "")
        path = Path(operation)
        package = operation.partition(".")[0]
        word = path.with_name(f"{deploy}.py") if path.suffix == ".py" else f"{package}.{deploy}"
        return f"pyinfra -y {self.options.get('inventory', 'inventory.py')} {word}"

    @property
    def failed_on(self) -> dict[str, list[str]]:
        """Step -> the hosts that failed at it, but for those that were not reached."""
        found: dict[str, list[str]] = {}
        for host, step in sorted(self.record["failed"].items()):
            if step != CONNECT:
                found.setdefault(step, []).append(host)
        return found

    # --- What pyinfra tells ---

    def operation_start(self, state, op_hash):
        if not self.began:
            self._begin(state)
        self.clock[op_hash] = time.monotonic()
        self.step = op_hash

    def operation_host_error(self, state, host, op_hash, *_args, **_kwargs):
        step = self._title(op_hash)
        self.record["failed"][host.name] = step
        if host.name in self.answers and self.answers[host.name].ours:
            self._release(host, f"failed at {step}")

    def operation_end(self, state, op_hash):
        title, record = self._title(op_hash), self.record
        role, taken = plan.role_of(title), time.monotonic() - self.clock[op_hash]
        record["seconds"][role] = round(record["seconds"].get(role, 0) + taken, 2)
        # Where nothing was done, what is new can wait for a step that does something, or the end.
        if title in plan.books(self.state)[True].busy or title in record["failed"].values():
            self._save()
        if self.answers and not self.judged and not self._preflight_first(op_hash):
            self._judge()
        if op_hash == self.last:
            self._end()

    # --- From beginning to end ---

    def _begin(self, state) -> None:
        self.began, self.last = True, state.get_op_order()[-1]
        directory = folder.of_site() / DIRECTORY
        # Only here: the greenlets in which hosts read the deploy have no context.
        context = click.get_current_context(silent=True)
        if context:  # however it ends, but for SIGKILL
            context.find_root().call_on_close(self.close)
        self._open_record(context.params if context else {}, directory.parent)
        path = directory / f"{self.record['run']}.json"
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
            given = context.params.get("inventory") if context else None
            self.file = lock.lock_file(directory / lock_name(given), self.holder)
        except OSError as error:
            logger.warning(f"no record of this run is kept: {error}")
            return
        except lock.Held as held:
            self.record["result"] = "refused"
            raise PyinfraError(f"another run from here is at work, so nothing was changed: {held}") from None
        finally:
            self.path = path if directory.is_dir() else None
            self._save()

    def _open_record(self, options: Mapping[str, Any], directory: Path) -> None:
        self.options = options
        started = now()
        name = f"{started.replace('-', '').replace(':', '')}-{os.getpid()}"
        who = f"{getpass.getuser()}@{socket.gethostname()} (pid {os.getpid()})"
        self.holder = lock.Holder(name, who, started, command_line(options))
        chosen = [host.name for host in self.state.inventory if self.state.is_host_in_limit(host)]
        hosts = [name for name in chosen if name in self.site.hosts]
        self.record = {
            "run": name,
            "command": self.holder.command,
            "who": who,
            "commit": commit(directory),
            "started": started,
            "ended": None,
            "result": "unfinished",
            "limit": list(options.get("limit") or ()),
            "hosts": hosts,
            "failed": {},
            "releases": {},
            "changed": {},
            "crashed": {},
            "seconds": {},
        }

    def _preflight_first(self, op_hash: str) -> bool:
        """What keeps a host from writing its lock is for the preflight to say, which knows more: is it next?"""
        if any(answer.held for answer in self.answers.values()):
            return False
        order = self.state.get_op_order()
        after = order[order.index(op_hash) + 1 :]
        return bool(after) and plan.role_of(self._title(after[0])) == "preflight"

    def _judge(self) -> None:
        """All hosts have said whose lock they hold. One that is another run's ends this one on all of them."""
        self.judged = True
        for line in lock.taken_over(self.answers):
            logger.warning(format_text(line, fg="yellow"))
        if refusal := lock.refusal(self.answers):
            self.record["result"] = "refused"
            self._release_all("refused: another run was at work")
            raise PyinfraError(refusal)
        for line in self.announcements():
            logger.warning(format_text(line, fg="yellow"))

    def _end(self) -> None:
        self.close()
        failed = sorted(self.record["failed"])
        result = f"ok here; the run failed on {', '.join(failed)}" if failed else "ok"
        self._release_all(result, self.changing | self.failed_before, success=True)
        self._tell_crashes()

    def leave(self, interrupted: bool) -> None:
        """Before pyinfra hangs up, whatever the reason: hosts that were changed, and not told of an end, are told."""
        if not self.began or self.closed:
            return
        if interrupted and self.record["result"] == "unfinished":
            self.record["result"] = "interrupted"
        left = self.changing - self.told
        if not left:
            return
        how = "interrupted" if interrupted else "ended early"
        if failed := sorted(self.record["failed"]):
            how += f"; the run failed on {', '.join(failed)}"
        here = {host.name for host in self.state.active_hosts if not self._has_done(host, self.step)}
        self._release_all(f"{how}, during {self._title(self.step)}", left & here)
        self._release_all(how, left - here)

    def close(self) -> None:
        """The run is over: say how in its record."""
        if not self.began or self.closed:
            return
        self.closed = True
        record, failed = self.record, self.record["failed"]
        for host in self.state.failed_hosts:
            failed.setdefault(host.name, CONNECT)
        if record["result"] == "unfinished":
            complete = self.last in self.clock and not self.state.active_hosts - self._done()
            if failed and all(plan.role_of(step) == "preflight" for step in failed.values()):
                record["result"] = "refused"
            elif failed:
                record["result"] = "failed"
            else:
                record["result"] = "ok" if complete else "interrupted"
        record["ended"] = now()
        self._save()
        if self.path:
            prune(self.path.parent)
        if self.file:
            self.file.close()

    def _done(self) -> set:
        """The hosts that have had the last operation, or have none of that name."""
        return {host for host in self.state.active_hosts if self._has_done(host, self.last)}

    def _has_done(self, host, op_hash: str | None) -> bool:
        ops = self.state.ops[host]
        return op_hash not in ops or ops[op_hash].operation_meta.is_complete()

    # --- On the hosts ---

    def scripts(self, host: str) -> dict[str, str]:
        """Sections of the first look: one takes the lock of the host, and one leaves that somebody looked."""
        taken = lock.script(self.holder, self.site.hosts[host].settings.break_lock)
        return {"lock": taken, textfile.SECTION: textfile.look_script()}

    def changing_script(self, host: str) -> str:
        """Leaves on the host, before it is changed for the first time, that a run has begun; empty after that."""
        if host in self.changing:
            return ""
        self.changing.add(host)
        begun = summary(self.record, host, None, "unfinished")
        unfinished = textfile.script(self.site.hosts[host], success=False)
        return f"{lock.changing_script(topology.LAST_RUN, begun)}\n{unfinished}\n"

    def looked(self, host: str, found: State) -> None:
        """The first look at a host, which took its lock: what runs there before this run."""
        self.answers[host] = lock.parse(found.extra.get("lock", []))
        if textfile.failed(found.extra.get(textfile.SECTION, [])):
            self.failed_before.add(host)
        member = self.site.hosts[host]
        releases = {}
        for info in member.daemons:
            if isinstance(info.product, Own):
                continue
            wanted = member.settings.version(info.archive)
            releases[info.name] = {"from": running_version(info, found), "to": wanted}
        self.record["releases"][host] = releases

    def _release_all(self, result: str, names: Container[str] | None = None, success: bool = False) -> None:
        """Of the hosts whose lock is ours: of all, or of those with `names`."""

        ours = {name for name, answer in self.answers.items() if answer.ours}
        chosen = ours if names is None else {name for name in ours if name in names}
        at_once(self.state, chosen, lambda host: self._release(host, result, success))

    def _release(self, host, result: str, success: bool = False) -> None:
        """Tell a host that the run is over for it. That it cannot be told is no failure of the run: the lock is left
        over then, and the summary has no end."""
        self._changes()
        self.told.add(host.name)
        # The last run that changed something is still another one, where this one did not.
        changed = host.name in self.changing
        text = summary(self.record, host.name, now(), result) if changed else ""
        script = lock.release_script(self.holder, topology.LAST_RUN, text)
        member, started = self.site.hosts[host.name], sorted(self.started.get(host.name, ()))
        # A run that was refused leaves nothing: not even that.
        if changed or success and host.name in self.failed_before:
            script += f"\n{textfile.script(member, success)}"
        if started:
            script += f"\n{faults.script(member, started)}"
        with suppress(Exception):
            found = faults.read(member, probe(host, script, _ignore_errors=True, _timeout=SECONDS))
            if found:
                crashed = {unit: str(crashes) for unit, crashes in found.items()}
                self.record["crashed"][host.name] = crashed

    def _tell_crashes(self) -> None:
        """A daemon that this run started may have crashed after its gate had opened, and be back: that is told."""
        for host, crashed in sorted(self.record["crashed"].items()):
            for unit, says in crashed.items():
                text = f"{host}: {unit} {says}; its journal: journalctl -u {unit}"
                logger.warning(format_text(text, fg="yellow"))
        if self.record["crashed"]:
            self._save()

    # --- The record ---

    def _title(self, op_hash: str) -> str:
        return ", ".join(sorted(self.state.op_meta[op_hash].names))

    def _changes(self) -> None:
        book = plan.books(self.state)[True]
        hosts = {name for busy in book.busy.values() for name in busy}
        self.record["changed"] = {name: book.of_host(name) for name in sorted(hosts)}

    def _save(self) -> None:
        self._changes()
        if self.path:
            try:
                write(self.path, self.record)
            except OSError as error:
                logger.warning(f"the record of this run cannot be written: {error}")
                self.path = None


@dataclass
class _Current:
    run: Run | None = None


def current(state=None) -> Run | None:
    """The run at work (that of `state`), where it changes hosts."""
    return kept(_Current, state).run


def begin(state, site: Site, announcements: Callable[[], list[str]]) -> bool:
    """Record the run of `state` from here on. False where that was begun before."""
    if current(state):
        return False
    kept(_Current, state).run = run = Run(state, site, announcements)
    state.add_callback_handler(run)
    return True
