"""Which newer releases exist, beside those of a release set. Asks upstream; no host is touched.

    .venv/bin/python -m deploys.newer [RELEASE SET] [BASE URL]

Exit status: 0 nothing newer, 1 some are newer, 2 some could not be asked.
"""

from __future__ import annotations

import sys

from deploys.lib.site.releases import DEFAULT_RELEASE, RELEASES
from deploys.lib.site.settings import Settings
from deploys.lib.survey import newer


def main(release: str = DEFAULT_RELEASE, base_url: str = Settings.model_fields["base_url"].default) -> int:
    if release not in RELEASES:
        print(f"release set: found {release!r}, allowed: {', '.join(RELEASES)}", file=sys.stderr)
        return 2
    found = newer.ask(release, base_url)
    print("\n".join(newer.table(found)))
    if any(one.problem for one in found):
        return 2
    return 1 if any(one.newer for one in found) else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
