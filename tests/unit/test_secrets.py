"""What was read as a secret is not printed."""

import io
import json

import pytest

from prometheus_ha.deploys.lib.ground import secrets
from prometheus_ha.deploys.lib.ground.secrets import Redacting, read_secret, redact

VALUE = 'correct "horse" & staple'


@pytest.fixture(autouse=True)
def nothing_seen(monkeypatch):
    monkeypatch.setattr(secrets, "_seen", [])


def test_a_secret_that_was_read_is_taken_out(monkeypatch):
    monkeypatch.setenv("SECRET", VALUE)
    assert redact(f"a {VALUE} b") == f"a {VALUE} b"
    read_secret("secret:env:SECRET")
    assert redact(f"a {VALUE} b") == "a <secret> b"
    assert redact(json.dumps({"said": VALUE})) == '{"said": "<secret>"}'
    assert redact("/?q=correct%20%22horse%22%20%26%20staple") == "/?q=<secret>"


def test_each_line_of_a_key_is_taken_out(monkeypatch):
    monkeypatch.setenv("SECRET", "-----BEGIN KEY-----\nMIIabcdefg\n-----END KEY-----")
    read_secret("secret:env:SECRET")
    assert redact("line 2: MIIabcdefg") == "line 2: <secret>"


def test_short_secrets_are_left(monkeypatch):
    """Every word with `ops` in it would be spoilt."""
    monkeypatch.setenv("SECRET", "ops")
    read_secret("secret:env:SECRET")
    assert redact("drops") == "drops"


def test_the_longest_secret_goes_first(monkeypatch):
    for value in ("abcdefgh", "abcdefgh-and-more"):
        monkeypatch.setenv("SECRET", value)
        read_secret("secret:env:SECRET")
    assert redact("abcdefgh-and-more") == "<secret>"


def test_a_stream_hides_them_and_is_otherwise_the_stream_it_was(monkeypatch):
    monkeypatch.setenv("SECRET", VALUE)
    read_secret("secret:env:SECRET")
    below = io.StringIO()
    stream = Redacting(below)
    assert stream.write(f"{VALUE}\n") == len(VALUE) + 1
    assert below.getvalue() == "<secret>\n"
    assert stream.isatty() is False
