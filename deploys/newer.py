"""Which newer releases exist, beside those of a release set. Asks upstream; no host is touched.

    prometheus-ha newer [RELEASE SET] [BASE URL]

Exit status: 0 nothing newer, 1 some are newer, 2 some could not be asked.
"""

from __future__ import annotations

import sys

from prometheus_ha.deploys.lib.site.releases import DEFAULT_RELEASE, RELEASES
from prometheus_ha.deploys.lib.site.settings import Settings
from prometheus_ha.deploys.lib.survey import newer


def main(arguments: list[str]) -> int:
    """See above; the release set is the default one where none is named, and the URL upstream's."""
    defaults = (DEFAULT_RELEASE, Settings.model_fields["base_url"].default)
    release, base_url = [*arguments, *defaults[len(arguments) :]][:2]
    if release not in RELEASES:
        print(f"release set: found {release!r}, expected: {', '.join(RELEASES)}", file=sys.stderr)
        return 2
    found = newer.ask(release, base_url)
    print("\n".join(newer.table(found)))
    if any(one.problem for one in found):
        return 2
    return 1 if any(one.newer for one in found) else 0
