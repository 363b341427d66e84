"""The inventory of one odd site: `ODD` in the environment says which hosts it has, as JSON of group -> host -> data."""

import json
import os

from tests.lab import plan

_groups = json.loads(os.environ["ODD"])
globals().update({group: [plan.host(name, **data) for name, data in hosts.items()] for group, hosts in _groups.items()})
all = (  # pyinfra's name
    list(dict.fromkeys(name for hosts in _groups.values() for name in hosts)),
    {
        **plan.SETTINGS,
        "alertmanager_webhook_url": plan.secret("webhook_url"),
        "deadman_url": plan.secret("deadman_url"),
    },
)
