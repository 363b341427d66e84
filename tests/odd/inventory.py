"""The inventory of one odd site: `ODD` in the environment says which hosts it has, as JSON of group -> host -> data."""

import json
import os

from tests.lab import plan

globals().update(
    {
        group: [plan.host(name, **data) for name, data in hosts.items()]
        for group, hosts in json.loads(os.environ["ODD"]).items()
    }
)
