"""What is declared of daemons and roles is whole: a forgotten row is an error, and no reference leads nowhere."""

from __future__ import annotations

from dataclasses import MISSING, fields, replace

import pytest

from prometheus_ha.deploys.lib.daemons import DAEMONS, GROUPS, PRODUCTS
from prometheus_ha.deploys.lib.daemons.declare import (
    Common,
    Daemon,
    Flag,
    Listen,
    Number,
    Own,
    Product,
    Setting,
    Timing,
)
from prometheus_ha.deploys.lib.engine import flags
from prometheus_ha.deploys.lib.engine.role import ROLES
from prometheus_ha.deploys.lib.ground.templates import source
from prometheus_ha.deploys.lib.site.settings import PROFILES, Settings


def required(what: type) -> list[str]:
    return [one.name for one in fields(what) if one.default is MISSING and one.default_factory is MISSING]


@pytest.mark.parametrize("declared", [*DAEMONS.values(), *PRODUCTS.values()], ids=lambda d: d.name)
def test_a_row_that_is_forgotten_is_an_error(declared):
    kind = type(declared)
    whole = {one.name: getattr(declared, one.name) for one in fields(kind)}
    assert len(required(kind)) >= (17 if kind is Daemon else 5)
    for name in required(kind):
        with pytest.raises(TypeError, match=name):
            kind(**{key: value for key, value in whole.items() if key != name})


@pytest.mark.parametrize("daemon", DAEMONS.values(), ids=DAEMONS)
def test_its_role_says_the_flags_that_need_a_site_and_no_others(daemon):
    [values] = [role.values[daemon] for role in ROLES.values() if daemon in role.values]
    role = next(role for role in ROLES.values() if daemon in role.values)
    for name in values:
        with pytest.raises(ValueError, match=f"differ in {name}"):
            flags.give(daemon, {key: value for key, value in values.items() if key != name})
    with pytest.raises(ValueError, match=f"{daemon.name}: its role and its declaration differ in x"):
        replace(role, values={daemon: {**values, "x": values.get}})
    flags.give(daemon, values)


@pytest.mark.parametrize("daemon", DAEMONS.values(), ids=DAEMONS)
def test_what_a_declaration_names_is_there(daemon):
    assert daemon.group in {*GROUPS, "all"}
    if isinstance(daemon.product, Own):
        assert f'VERSION = "{daemon.product.version}"' in source(daemon.product.template)
    else:
        assert daemon.binary in daemon.product.binaries
        assert daemon.product in PRODUCTS.values()
    if daemon.beside:
        assert daemon.beside[0] in DAEMONS.values()
        assert set(daemon.beside[1]) <= set(Settings.model_fields)
    named = {daemon.extra, daemon.listen_address, daemon.account, daemon.data_setting}
    named |= {port.setting for port in daemon.ports.values()}
    for flag in daemon.flags:
        match flag.value:
            case Setting(name):
                named.add(name)
            case Timing(name):
                assert all(hasattr(profile, name) for profile in PROFILES.values()), name
            case Listen(port) | Number(port, _):
                assert flag.name == daemon.ports[port].flag
    assert named - {None, "evaluation_interval"} <= set(Settings.model_fields)
    told = [flag.name for flag in daemon.flags if isinstance(flag.value, Listen | Number)]
    here = {flag.name for flag in daemon.flags if flag.value is Common.HERE}
    assert set(told) | here >= {port.flag for port in daemon.ports.values()}
    # A unit reads its configuration of the bucket, and has a key that may do something there.
    assert bool(daemon.bucket) == bool(daemon.rights)
    assert all(isinstance(flag, Flag) for flag in daemon.flags)


def test_products_are_named_once():
    assert all(name == product.name for name, product in PRODUCTS.items())
    assert all(isinstance(product, Product) for product in PRODUCTS.values())


def test_every_daemon_has_a_role_that_says_how_it_is_back_up():
    roles = [role for role in ROLES.values() if role.values]
    assert {daemon for role in roles for daemon in role.values} == set(DAEMONS.values())
    assert all(role.gate for role in roles)
