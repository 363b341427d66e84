"""Which values are secrets written out, and which only look like it."""

import pytest

from prometheus_ha.deploys.lib.ground.findings import Finding
from prometheus_ha.deploys.lib.survey import site_checks


def found(setting, value):
    def finding(key, *rest):
        return Finding("a", key, *rest)

    return [*site_checks.check_literals(finding, {setting: value})]


P, A = "prometheus_config", "alertmanager_config"
REFERENCE = "secret:env:W"
PROXY = {"proxy_url": "http://me:word@10.0.0.1:3128"}


@pytest.mark.parametrize(
    ("setting", "shape"),
    [
        (P, lambda s: {"remote_write": [{"basic_auth": {"password": s or 12345678}}]}),
        (P, lambda s: {"scrape_configs": [{"params": {"token": [s or "abc"]}}]}),
        (
            P,
            lambda s: {"scrape_configs": [{"http_headers": {"X-Api-Key": {"values": [s or "a"]}}}]},
        ),
        (P, lambda s: {"scrape_configs": [{"http_headers": {"X-A": {"secrets": [s or "a"]}}}]}),
        (P, lambda s: {"remote_write": [{"headers": {"X-Auth-Token": s or "a"}}]}),
        (P, lambda s: {"scrape_configs": [{"tls_config": {"key": s or "abc"}}]}),
        (P, lambda s: {"x": s or "-----BEGIN RSA PRIVATE KEY-----\nabc"}),
        (A, lambda s: {"webhook_configs": [{"url": s or "http://10.0.0.5/hook?key=a"}]}),
        (A, lambda s: {"webhook_configs": [{"url": s or "http://10.0.0.5/T0a1b2c3d4e5f6g7h8"}]}),
        (A, lambda s: {"webhook_configs": [{"url": s or "https://hooks.example.com/alerts"}]}),
    ],
)
def test_a_literal_is_refused_and_a_reference_is_not(setting, shape):
    assert len(found(setting, shape(None))) == 1
    assert found(setting, shape(REFERENCE)) == []


@pytest.mark.parametrize(
    "value",
    [
        {"pagerduty_configs": [{"details": {"token": "{{ .Receiver }}"}}]},
        {"opsgenie_configs": [{"details": {"secret": "{{ .Receiver }}"}}]},
        {"webhook_configs": [{"url": "http://10.0.0.5:8080/hook"}]},
        {"webhook_configs": [{"url": "http://10.0.0.5/alertmanager-webhook"}]},
        {"webhook_configs": [{"url": "http://alerts.lan:8080/hook"}]},
        {"http_headers": {"X-Scope-OrgID": {"values": ["team"]}}},
        {"http_headers": {"X-Api-Key": {"files": ["/etc/key"]}}},
    ],
)
def test_what_is_no_secret_is_accepted(value):
    assert found(A, value) == []


def test_a_proxy_with_a_password_is_told_what_can_be_done():
    assert "whole URL" in found(P, {"scrape_configs": [PROXY]})[0].wanted
    assert found(P, {"scrape_configs": [{"proxy_url": REFERENCE}]}) == []
