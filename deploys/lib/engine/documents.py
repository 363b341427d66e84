"""Files of data: YAML as upstream reads it, with the secrets in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from prometheus_ha.deploys.lib.engine.component import File
from prometheus_ha.deploys.lib.ground import topology
from prometheus_ha.deploys.lib.ground.secrets import resolve

Data = dict[str, Any]

# The one in C writes the same, in a tenth of the time.
_Safe: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

HEADER = "Managed by pyinfra-prometheus-ha: changes are overwritten."


class _Dumper(_Safe):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: _Dumper, text: str) -> yaml.Node:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def dump(data: Any, header: str = HEADER) -> str:
    """`data` as YAML in the order it has, with `header` as a comment above it."""
    return "".join(f"# {line}\n" for line in header.splitlines()) + _yaml(data)


_written: dict[str, str] = {}


def _yaml(data: Any) -> str:
    """`data` as YAML. A run wants the same files on several hosts, and on each at several steps."""
    key = repr(data)
    if key not in _written:
        _written[key] = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return _written[key]


def file(data: Any, setting: str = "", group: str = topology.GROUP, header: str = HEADER) -> File:
    """A file of `data`, with the secrets in it, for root and `group` alone. `setting` names the place in errors.

    Raises SecretError where a secret cannot be read.
    """
    return File(dump(resolve(data, setting), header), group=group)


def secret_files(directory: str, given: Mapping[str, str], setting: str) -> dict[str, File]:
    """The files of a setting `given` as file name -> secret reference, by their path. Raises SecretError."""
    return {f"{directory}/{name}": File(text) for name, text in resolve(given, setting).items()}
