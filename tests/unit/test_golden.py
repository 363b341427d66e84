"""Code that moves changes nothing of what is rendered: tests/unit/golden.py says what, and how to see a difference."""

from __future__ import annotations

from tests.unit import golden


def test_what_is_rendered_is_as_recorded(monkeypatch):
    for name, value in golden.SECRETS.items():
        monkeypatch.setenv(name, value)
    rendered, recorded = golden.digests(), golden.recorded()
    assert len(rendered) > 1000
    differ = [what for what in {*rendered, *recorded} if rendered.get(what) != recorded.get(what)]
    assert not differ, (
        f"{len(differ)} texts are not as recorded, as {sorted(differ)[0]}. Compare them with those of the "
        "commit before: python -m tests.unit.golden DIRECTORY. Where it is meant: --record, and say why"
    )
