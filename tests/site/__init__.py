"""The verification of a running site, read from its hosts: `pytest tests/site`.

Hosts and expected values come from `inventory.py` and group_data/, so that it serves your own hosts
as it does the lab's. It changes nothing, but for one: `test_logs` rotates the logs of one host.
"""

import pytest

# Helpers that assert: a failure shows the values, as it does in a test module.
pytest.register_assert_rewrite("tests.site.daemon", "tests.site.ask")
