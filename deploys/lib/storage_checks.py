"""Is long-term storage what the inventory says? Checks of `verify` (lib/checks.py), named as there: A20 (uploads), A22
(store gateways), A23 (compactor), A26 (query frontends)."""

from __future__ import annotations

from collections.abc import Iterator

from deploys.lib import derived, uploads
from deploys.lib.daemons import DAEMONS
from deploys.lib.results import Result
from deploys.lib.verify_view import View
from facts.http import NO_ANSWER
from facts.reports import thanos


def _journal(component: str) -> str:
    unit = DAEMONS[component].unit
    return f"systemctl status {unit}; journalctl -u {unit}"


def _check_uploads(view: View) -> Iterator[Result]:
    """A20: what the sidecars have to upload, they upload."""
    for member, report in view.sidecars():
        if not report.ready or not derived.uploads(member):
            continue
        if report.failed and not report.last_upload:
            yield Result(
                member.name,
                "A20",
                f"thanos-sidecar: {report.failed} operations on the bucket failed, and nothing was uploaded yet",
                "none failed, or an upload since",
                f"does the object store answer, and may its key write? {_journal('thanos-sidecar')}",
                # They may have failed hours ago, and a block takes two to be there.
                "warn",
            )
        yield from uploads.finding(member, "thanos-sidecar", "A20", report)


def _check_store_gateways(view: View) -> Iterator[Result]:
    """A22: store gateways read every block that they have found."""
    for member, report in view.reports("thanos-store"):
        if report.ready and (failed := report.values.get(thanos.BLOCKS_FAILED)):
            yield Result(
                member.name,
                "A22",
                f"thanos-store could not load {failed:.0f} blocks",
                "0",
                f"{_journal('thanos-store')}; thanos tools bucket verify says which are broken",
                "warn",
            )


def _check_compactor(view: View) -> Iterator[Result]:
    """A23: the compactor has not halted."""
    for member, report in view.reports("thanos-compactor"):
        if report.ready and report.values.get(thanos.HALTED):
            yield Result(
                member.name,
                "A23",
                "thanos-compactor has halted, and does nothing any more",
                f"{thanos.HALTED} 0",
                f"its journal names the blocks; docs/storage.md has the way out. "
                f"{_journal('thanos-compactor')}",
            )


def _check_frontends(view: View) -> Iterator[Result]:
    """A26: a query through each frontend is answered."""
    for member, report in view.reports("thanos-query-frontend"):
        answer = report.answers.get("query", NO_ANSWER)
        if report.ready and not answer.ok:
            yield Result(
                member.name,
                "A26",
                f"a query through thanos-query-frontend is not answered: {answer.problem}",
                "an answer",
                f"does the querier behind it run? {_journal('thanos-query-frontend')}",
                about=view.querier_behind(member),
            )


CHECKS = (_check_uploads, _check_store_gateways, _check_compactor, _check_frontends)
