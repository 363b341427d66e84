"""Refuse before anything changes: the inventory and all hosts' settings are checked, whichever the run touches.

`config.py` does so before pyinfra connects; this is for runs that were not started beside it.
"""

from pyinfra.api.exceptions import PyinfraError

from deploys.lib import rollout
from deploys.lib.findings import SettingsErrors, describe


def deploy() -> None:
    """Ends the run, for all hosts and with all findings at once, where the site cannot be deployed."""
    try:
        rollout.site()
    except SettingsErrors as error:
        raise PyinfraError(
            "nothing was changed:\n  " + "\n  ".join(describe(error.findings))
        ) from None
