"""What the conditions of routes and inhibitions mean for each other."""

from __future__ import annotations

import pytest

from prometheus_ha.deploys.lib.ground import routing
from prometheus_ha.deploys.lib.roles.alertmanager.configuration import WATCHDOG_LABELS
from tests.unit.test_alert_channels import site


def _conditions(*lines: str) -> list[routing.Matcher]:
    return list(routing.matchers({"matchers": list(lines)}))


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        ([], ['a="b"']),
        (['a="b"'], ['a="b"', 'c="d"']),
        (['a=~"b|c"'], ['a="b"']),
        (['a=~"b.*"'], ['a=~"bc|bd"']),
        (['a!="b"'], ['a="c"']),
        (['a!="b"'], ['a=~"(c|d)"']),
        (['a!~"b|c"'], ['a!~"b|c"']),
        (['a=~".*"'], []),
        (['a!=""'], ['a=~"b.*"']),
        (['a=~".+"'], ['a!=""']),
        (['a=""'], ['a=""', 'b="c"']),
    ],
)
def test_covers(wide: list[str], narrow: list[str]) -> None:
    assert routing.covers(_conditions(*wide), _conditions(*narrow))


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        (['a="b"'], []),
        (['a="b"'], ['a=~"b|c"']),
        (['a="b"', 'c="d"'], ['a="b"']),
        (['a!="b"'], ['c="d"']),
        (['a!=""'], ['a=~".*"']),
        (['a=~"b.*"'], ['a=~"b.+"']),
        (['a=~".+"'], ['a!="b"']),
    ],
)
def test_covers_not_for_sure(wide: list[str], narrow: list[str]) -> None:
    assert not routing.covers(_conditions(*wide), _conditions(*narrow))


TAKEN = [
    # What everybody writes: by severity, then by team, with a catch-all at the end.
    [
        {"matchers": ['severity="critical"'], "continue": True},
        {"matchers": ['severity="critical"', 'team="db"']},
        {"matchers": ['severity=~"critical|warning"'], "routes": [{"matchers": ['team="web"']}]},
        {"matchers": ['team="db"']},
        {},
    ],
    [{"match": {"team": "db"}}, {"match_re": {"team": "db|web"}}],
    [{"matchers": ['team=~"db-.*"'], "routes": [{"matchers": ['team="db-1"']}, {"matchers": ['team!="db-1"']}]}],
]


@pytest.mark.parametrize("routes", TAKEN)
def test_routes_that_take_something(routes: list[dict]) -> None:
    assert list(routing.never_taken({"routes": routes})) == []


NEVER_TAKEN = [
    ([{}, {"matchers": ['team="db"']}], "routes[1]", "what routes[0] takes before it"),
    ([{"match": {"team": "db"}}, {"matchers": ['team="db"', 'severity="critical"']}], "routes[1]", "routes[0]"),
    ([{"match_re": {"team": "db|web"}}, {"matchers": ['team="web"']}], "routes[1]", "routes[0]"),
    (
        [{"matchers": ['severity="critical"'], "routes": [{"matchers": ['severity="warning"']}]}],
        "routes[0].routes[0]",
        "at once",
    ),
    ([{"matchers": ['a="b"'], "routes": [{}, {"matchers": ['c="d"']}]}], "routes[0].routes[1]", "routes[0].routes[0]"),
    ([{"matchers": ['a="b"', 'a="c"']}], "routes[0]", 'a="b" and a="c"'),
    ([{"matchers": ['a=""'], "routes": [{"matchers": ['a=~"b|c"']}]}], "routes[0].routes[0]", "at once"),
]


@pytest.mark.parametrize(("routes", "place", "why"), NEVER_TAKEN)
def test_routes_that_take_nothing(routes: list[dict], place: str, why: str) -> None:
    ((found, said),) = routing.never_taken({"routes": routes})
    assert found == place and why in said


@pytest.mark.parametrize(
    "rule",
    [
        {"source_matchers": ['severity="critical"'], "target_matchers": ['severity="warning"'], "equal": ["instance"]},
        {"source_match": {"severity": "critical"}, "target_match_re": {"severity": "warning|info"}, "equal": ["a"]},
        {"source_matchers": ['alertname="InfoInhibitor"'], "target_matchers": ['severity="info"']},
        {"source_matchers": ['alertname="Down"'], "target_matchers": [], "equal": ["alertname", "host"]},
        {"source_matchers": ['alertname="Site"'], "target_matchers": ['alertname!~"Site|Watchdog"'], "equal": ["dc"]},
    ],
)
def test_inhibitions_that_are_meant(rule: dict) -> None:
    assert list(routing.mutes(rule, WATCHDOG_LABELS)) == []


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"source_matchers": ['alertname="Down"']}, "a target that is every alert, and nothing in equal"),
        ({"source_matchers": ['a="b"'], "target_matchers": ['c=~".*"']}, "a target that is every alert"),
        ({"source_matchers": [], "target_matchers": ['a="b"'], "equal": ["c"]}, "a source that takes the Watchdog"),
        (
            {"source_match_re": {"severity": "none|info"}, "target_match": {"a": "b"}},
            "a source that takes the Watchdog",
        ),
        (
            {"source_matchers": ['a="b"'], "target_matchers": ['a!="b"'], "equal": ["dc"]},
            "a target that takes the Watch",
        ),
        ({"source_matchers": ['a="b"', 'a="c"'], "target_matchers": ['d="e"']}, 'a source with a="b" and a="c"'),
        ({"source_matchers": ['a="b"'], "target_matchers": ['d=""', 'd="e"']}, "a target with"),
    ],
)
def test_inhibitions_that_mute_too_much_or_nothing(rule: dict, said: str) -> None:
    ((found, _),) = routing.mutes(rule, WATCHDOG_LABELS)
    assert found.startswith(said)


def test_they_are_named_as_warnings_once_for_the_site() -> None:
    config = {
        "route": {"routes": [{"receiver": "web.hook"}, {"matchers": ['team="db"']}]},
        "inhibit_rules": [{"source_matchers": ['a="b"'], "target_matchers": [], "equal": []}],
    }
    found = [str(each) for each in site(alertmanager_config=config).findings if "alertmanager_config." in each.check]
    assert len(found) == 2 and all("warn" in each for each in found), found
    assert "am-1: alertmanager_config.route.routes[1]" in found[0], found
    assert "am-1: alertmanager_config.inhibit_rules[0]" in found[1], found
    assert not [
        each
        for each in site(alertmanager_config={"route": {"routes": [{"matchers": ["!"]}, {}]}}).findings
        if "route." in each.check
    ]
