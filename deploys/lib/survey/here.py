"""How a fact asks the daemons of the host that it is asked of: where the host's settings say."""

from __future__ import annotations

from collections.abc import Sequence

from pyinfra import host, inventory
from pyinfra.api.exceptions import FactValueError, PyinfraError

from prometheus_ha.deploys.lib import daemons
from prometheus_ha.deploys.lib.daemons import DAEMONS, GROUPS
from prometheus_ha.deploys.lib.engine.ask import script
from prometheus_ha.deploys.lib.ground.findings import SettingsErrors, refusal
from prometheus_ha.deploys.lib.site.settings import Settings
from prometheus_ha.deploys.lib.survey.load import load_site
from prometheus_ha.facts import http
from prometheus_ha.facts.http import Call


def of_host(components: Sequence[str], calls: Sequence[Call], url: str | None, extra: Sequence[str]) -> str:
    """The command of a fact: `calls` to `url`, else to that one of `components` which its host runs, where the host's
    settings say that it listens, with their scheme and credentials."""
    return of_current_host(components, calls, extra) if url is None else http.script(url, calls, extra)


def of_current_host(components: Sequence[str], calls: Sequence[Call], extra: Sequence[str]) -> str:
    """The same for a fact: asks that one of `components` which the current host runs, where its settings say. A host
    that has no part in a site is asked where the first of them listens by default.

    Raises FactValueError where the host runs several of them, and PyinfraError where its site cannot be read.
    """
    try:
        site = load_site(inventory, check_secrets=False)
    except SettingsErrors as error:
        if set(host.groups) & set(GROUPS):
            raise PyinfraError(f"{refusal(error)}\n(a fact's url=... asks all the same)") from None
        port = getattr(Settings(), DAEMONS[components[0]].ports["http"].setting)
        return http.script(f"http://127.0.0.1:{port}", calls, extra)
    member = site.hosts[host.name]
    here = [name for name in components if name in member.components]
    if daemons.ATTACHED.name in member.components and daemons.PROMETHEUS.name in components:
        return http.script(member.settings.attached_url, calls, extra)
    if len(here) > 1:
        urls = ", ".join(f"url={site.local(name, member).url} ({name})" for name in here)
        raise FactValueError(f"{host.name} runs {len(here)} of them, one is to be named: {urls}")
    return script(site, member, (here or components)[0], calls, extra)
