"""Upstream's own files in the site's directory, as they are: `prometheus.yml`, `rules/`, `targets/`,
`alertmanager.yml`, `templates/`, `blackbox.yml`. Each is what a setting holds otherwise: what is true of that is of it.

A file that was written for one Prometheus has what the platform brings itself: a job for that Prometheus, the files of
its rules, an Alertmanager on localhost. What is left out is said, with its line; what cannot be decided is refused.
"""

from __future__ import annotations

import json
import re
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from prometheus_ha.deploys.lib import daemons
from prometheus_ha.deploys.lib.daemons import DAEMONS, exporters
from prometheus_ha.deploys.lib.daemons.alertmanager import ALERTMANAGER_CONFIG, ALERTMANAGER_SECRETS_DIR, TEMPLATES_DIR
from prometheus_ha.deploys.lib.daemons.declare import Group
from prometheus_ha.deploys.lib.daemons.prometheus import PROMETHEUS_CONFIG, RULES_DIR, SECRETS_DIR, TARGETS_DIR
from prometheus_ha.deploys.lib.ground import yaml_text
from prometheus_ha.deploys.lib.ground.findings import Finding, as_dict, as_list
from prometheus_ha.deploys.lib.ground.yaml_text import YamlError

PROMETHEUS = daemons.PROMETHEUS.group
ALERTMANAGER = daemons.ALERTMANAGER.group
BLACKBOX = exporters.BLACKBOX_EXPORTER.group

LARGEST = 8 << 20
"""Bytes of a file that is read."""


@dataclass
class Files:
    """What a site's directory has: settings by group, where each is from, and what is to be said of them."""

    directory: Path
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    """Setting -> its file, or the directory of its files."""
    findings: list[Finding] = field(default_factory=list)
    paths: dict[str, dict[str, Path]] = field(default_factory=dict)
    """Setting -> name in it -> the file, where each name has its own."""

    lines: dict[str, str] = field(default_factory=dict)
    """Place in a setting -> its file with the line, where the two have not the same path."""

    def give(self, group: Group, setting: str, value: Any, source: str) -> None:
        self.settings.setdefault(group, {})[setting] = value
        self.sources[setting] = source

    def sources_of(self, groups: Iterable[str], data: Mapping[str, Any]) -> dict[str, str]:
        """Setting, with a name in it where each has a file of its own -> that file: for a host with `data`."""
        found: dict[str, str] = {}
        for group in groups:
            for setting, value in self.settings.get(group, {}).items():
                paths = self.paths.get(setting, {})
                found |= {f"{setting}.{name}": str(path.relative_to(self.directory)) for name, path in paths.items()}
                if data.get(setting) is value:
                    found[setting] = self.sources[setting]
                    found |= {place: line for place, line in self.lines.items() if place.startswith(setting)}
        return found

    def in_users_words(self, wanted: Mapping[str, Any], line: str) -> str:
        """What a checker says of a file on a host, with the user's own file, and its line, where the text is from one;
        `wanted` are the files that the host would have."""
        for setting, directory in _DIRECTORIES.items():
            for name, path in self.paths.get(setting, {}).items():
                line = line.replace(f"{directory}/{name}", str(path.relative_to(self.directory)))
        if not (number := re.search(r"\bline (\d+)", line)):
            return line
        for place, setting in _WHOLE.items():
            if place in wanted and (source := self.sources.get(setting)):
                return f"{line} ({self._own(source, wanted[place].content, int(number[1]))})"
        return line

    def _own(self, source: str, text: str, number: int) -> str:
        """A line of a text that was made from the user's file `source`, with its place there."""
        bad = next(iter(text.splitlines()[number - 1 : number]), "").strip()
        own = (self.directory / source).read_text(encoding="utf-8").splitlines()
        lines = [n for n, one in enumerate(own, 1) if one.strip().removeprefix("- ") == bad.removeprefix("- ")]
        return f"{source}:{lines[0]}: {bad}" if len(lines) == 1 else bad

    def say(self, severity: str, name: str, line: int | None, found: str, wanted: str) -> None:
        where = f"{name}:{line}" if line else name
        self.findings.append(Finding("", "", found, wanted, severity=severity, where=where))


@dataclass(frozen=True)
class _Each:
    """A directory of files, each of which is a name in a setting."""

    directory: str
    endings: tuple[str, ...]
    setting: str
    group: Group
    name: Callable[[Path], str]
    """The name in the setting."""
    read: Callable[[Files, Path, str], Any]
    """What the file holds; None where it is none of these, which is said."""


def read(directory: Path) -> Files:
    """The files of a site's directory."""
    files = Files(directory)
    for each in EACH:
        _read_each(files, each)
    _prometheus(files)
    _alertmanager(files)
    _blackbox(files)
    return files


# --- One file -------------------------------------------------------------------------------------


def _text(files: Files, path: Path) -> str | None:
    name = str(path.relative_to(files.directory))
    try:
        if path.stat().st_size > LARGEST:
            files.say("fail", name, None, f"more than {LARGEST >> 20} MB", "a smaller file")
            return None
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text in UTF-8"
        files.say("fail", name, None, f"a file that cannot be read: {reason}", "a text file that this user may read")
        return None


def _yaml(files: Files, path: Path) -> Any:
    """The data of a file; None where it has none, or is wrong, which is said."""
    text = _text(files, path)
    name = str(path.relative_to(files.directory))
    try:
        return None if text is None else json.loads(text) if path.suffix == ".json" else yaml_text.read(text)
    except json.JSONDecodeError as error:
        files.say("fail", f"{name}:{error.lineno}", error.colno, error.msg, "JSON")
    except RecursionError:
        files.say("fail", name, None, "lists and mappings that are nested too deep", "64 levels at most")
    except YamlError as error:
        for place in error.places:
            files.say("fail", f"{name}:{place.line}", place.column, place.found, place.wanted)
    return None


def _mapping(files: Files, name: str) -> tuple[dict[str, Any], Callable[..., int | None]] | None:
    """The data of a file that is a mapping, and what finds the line of a path in it."""
    path = files.directory / name
    if not path.is_file():
        return None
    data = _yaml(files, path)
    if not isinstance(data, dict):
        if data is not None:
            files.say("fail", name, 1, f"a {type(data).__name__}", "a mapping, as upstream's documentation has it")
        return None
    return data, lambda *keys: yaml_text.line_of(path.read_text(encoding="utf-8"), [str(key) for key in keys])


# --- Directories of files -------------------------------------------------------------------------


def _read_each(files: Files, each: _Each) -> None:
    found: dict[str, Any] = {}
    directory = files.directory / each.directory
    paths = sorted(directory.iterdir()) if directory.is_dir() else []
    paths = [path for path in paths if not path.name.startswith(".")]
    ours = [path for path in paths if path.suffix in each.endings and path.is_file()]
    for path in ours:
        _take(files, each, path, found)
    if found:
        files.give(each.group, each.setting, found, each.directory)
    # In a directory that has none of them, as the templates of a pyinfra project, the others are none of ours.
    for path in paths if ours else ():
        if path not in ours and path.suffix not in (".md", ".txt"):
            shown = str(path.relative_to(files.directory))
            files.say("warn", shown, None, "what is not read", f"files ending in {', '.join(each.endings)}")


def _take(files: Files, each: _Each, path: Path, found: dict[str, Any]) -> None:
    shown = str(path.relative_to(files.directory))
    paths = files.paths.setdefault(each.setting, {})
    name = each.name(path)
    if name in paths:
        if paths[name] != path:
            files.say("fail", shown, None, f"a second {name}, beside {paths[name].name}", "one of them")
        return
    value = each.read(files, path, shown)
    if value is not None:
        found[name], paths[name] = value, path


def _rule_file(files: Files, path: Path, shown: str) -> str | None:
    """The text as it is: so promtool's lines are the user's."""
    data = _yaml(files, path)
    if data is None:
        if not any(one.where.startswith(shown) for one in files.findings):
            files.say("note", shown, None, "left out", "it holds no rules")
        return None
    if isinstance(data, dict) and "tests" in data and "groups" not in data:
        return None  # promtool's tests of rules, which stand beside them
    if not isinstance(data, dict) or not isinstance(data.get("groups"), list | None):
        files.say("fail", shown, 1, "no groups of rules", "groups: [...], as upstream's rule files have it")
        return None
    return path.read_text(encoding="utf-8")


def _target_file(files: Files, path: Path, shown: str) -> Any:
    return _yaml(files, path)


def _template_file(files: Files, path: Path, shown: str) -> str | None:
    return _text(files, path)


_RULES = _Each(
    *("rules", (".yml", ".yaml", ".rules"), "prometheus_rules", PROMETHEUS),
    *(lambda path: f"{path.stem}.yml", _rule_file),
)
_TARGETS = _Each(
    *("targets", (".yml", ".yaml", ".json"), "prometheus_targets", PROMETHEUS),
    *(lambda path: path.stem, _target_file),
)
_TEMPLATES = _Each(
    *("templates", (".tmpl", ".tpl"), "alertmanager_templates", ALERTMANAGER),
    *(lambda path: f"{path.stem}.tmpl", _template_file),
)
EACH = (_RULES, _TARGETS, _TEMPLATES)
_DIRECTORIES = {_RULES.setting: RULES_DIR, _TEMPLATES.setting: TEMPLATES_DIR}
"""Setting -> where its files are on a host, as they are."""
_WHOLE = {PROMETHEUS_CONFIG: "prometheus_config", ALERTMANAGER_CONFIG: "alertmanager_config"}
"""File on a host -> the setting that is merged into it."""


# --- prometheus.yml -------------------------------------------------------------------------------

_LOCAL = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d+)?")


def _taken(config: dict[str, Any], key: str) -> list[Any]:
    """The list at a key, which is taken out of `config`; what is no list stays, for the setting to refuse."""
    return config.pop(key) if isinstance(config.get(key), list) else []


def _bring(files: Files, each: _Each, name: str, at: int | None, pattern: str) -> None:
    """Take the files of the directory that a pattern of the file `name` matches, whatever their ending."""
    found = files.settings.get(each.group, {}).get(each.setting, {})
    paths = sorted(path for path in files.directory.glob(pattern) if path.is_file())
    if not paths:
        wanted = "a file in the site's directory; it is left out"
        files.say("warn", name, at, f"the {each.directory} {pattern}, which match no file", wanted)
    for path in paths:
        _take(files, each, path, found)
    if found:
        files.give(each.group, each.setting, found, each.directory)


def _static(given: dict[str, Any]) -> list[str]:
    """The targets that an entry lists itself."""
    groups = as_list(given.get("static_configs"))
    return [str(target) for group in groups for target in as_list(as_dict(group).get("targets"))]


def _prometheus(files: Files) -> None:
    name = "prometheus.yml"
    if (read := _mapping(files, name)) is None:
        return
    config, line = read
    config = _secret_files(files, name, line, config, "prometheus_secret_files", PROMETHEUS, SECRETS_DIR)
    _rule_files(files, name, line, config)
    _jobs(files, name, line, config)
    _alertmanagers(files, name, line, config)
    files.give(PROMETHEUS, "prometheus_config", config, name)


def _rule_files(files: Files, name: str, line: Callable[..., int | None], config: dict[str, Any]) -> None:
    """Patterns of files in the directory bring those files. The daemon itself is told of the rules directory."""
    for index, pattern in enumerate(_taken(config, "rule_files")):
        at = line("rule_files", f"[{index}]")
        pattern = str(pattern)
        if pattern.startswith("/"):
            if Path(pattern).parent != Path(RULES_DIR):
                wanted = "a pattern below the site's directory: what is not there is not deployed"
                files.say("fail", name, at, f"the rules {pattern}", wanted)
            continue
        _bring(files, _RULES, name, at, pattern)


def _jobs(files: Files, name: str, line: Callable[..., int | None], config: dict[str, Any]) -> None:
    """The platform's own jobs have their names; one of theirs that scrapes nothing but localhost goes for them."""
    ours = {info.job_name for info in DAEMONS.values()}
    kept: list[Any] = []
    for index, job in enumerate(as_list(config.get("scrape_configs"))):
        given, at = as_dict(job), line("scrape_configs", f"[{index}]")
        title = given.get("job_name")
        targets = _static(given)
        discovers = any(key.endswith("_sd_configs") for key in given)
        if title in ours:
            if not discovers and all(_LOCAL.fullmatch(target) for target in targets):
                found = f"the job {title} is left out"
                files.say(
                    "note", name, at, found, "the platform's job of this name scrapes every member by its address"
                )
                continue
        elif targets and any(_LOCAL.fullmatch(target) for target in targets):
            found = f"a target on localhost in the job {title}, which is another process on each replica"
            files.say("warn", name, at, found, "an address that all replicas can reach")
        if at:
            files.lines[f"prometheus_config.scrape_configs[{len(kept)}]"] = f"{name}:{at}"
        kept.append(_with_target_files(files, name, at, given) if given else job)
    if isinstance(config.get("scrape_configs"), list):
        config["scrape_configs"] = kept


def _with_target_files(files: Files, name: str, at: int | None, job: dict[str, Any]) -> dict[str, Any]:
    """A job whose `file_sd_configs` name files of `targets/`: they are named as the hosts have them, where all end in
    `.yml`. Other files from / are somebody else's."""
    if "file_sd_configs" not in job:
        return job
    entries = []
    known = files.paths.get(_TARGETS.setting, {})
    for entry in as_list(job["file_sd_configs"]):
        named: list[Any] = []
        for pattern in map(str, as_list(as_dict(entry).get("files"))):
            wanted = pattern.removeprefix(f"{TARGETS_DIR}/")
            ours = wanted != pattern or not pattern.startswith("/")
            wanted = wanted.removeprefix("./").removeprefix(f"{_TARGETS.directory}/")
            matched = [job_name for job_name, path in known.items() if ours and fnmatch(path.name, wanted)]
            named += [f"{TARGETS_DIR}/{job_name}.yml" for job_name in matched]
            if not matched and pattern.startswith("/"):
                named.append(pattern)
            elif not matched:
                found = f"the files of targets {pattern}, which match none of {_TARGETS.directory}/"
                wanted = "a pattern of files there, or one from / that somebody else writes"
                files.say("fail", name, at, found, wanted)
        entries.append({**as_dict(entry), "files": named})
    return {**job, "file_sd_configs": entries}


def _alertmanagers(files: Files, name: str, line: Callable[..., int | None], config: dict[str, Any]) -> None:
    """The members of the site's own cluster are told of anyway."""
    alerting = as_dict(config.get("alerting"))
    kept = []
    for index, entry in enumerate(as_list(alerting.get("alertmanagers"))):
        given, at = as_dict(entry), line("alerting", "alertmanagers", f"[{index}]")
        static = _static(given)
        if not any(key.endswith("_sd_configs") for key in given) and all(_LOCAL.fullmatch(one) for one in static):
            if static:
                found = f"the Alertmanager {', '.join(static)} is left out"
                files.say("note", name, at, found, "alerts go to every member of the group alertmanager")
            continue
        found = f"other Alertmanagers ({', '.join(static) or 'discovered'})"
        files.say("note", name, at, found, "alerts go there as well as to every member of the group alertmanager")
        kept.append(entry)
    if isinstance(alerting.get("alertmanagers"), list):
        config["alerting"] = {**alerting, "alertmanagers": kept}


# --- alertmanager.yml, blackbox.yml ---------------------------------------------------------------


def _alertmanager(files: Files) -> None:
    name = "alertmanager.yml"
    if (read := _mapping(files, name)) is None:
        return
    config, line = read
    directory = ALERTMANAGER_SECRETS_DIR
    config = _secret_files(files, name, line, config, "alertmanager_secret_files", ALERTMANAGER, directory)
    for index, pattern in enumerate(_taken(config, "templates")):
        pattern, at = str(pattern), line("templates", f"[{index}]")
        if fnmatch(pattern, f"{TEMPLATES_DIR}/*"):
            continue
        if not pattern.startswith("/"):
            _bring(files, _TEMPLATES, name, at, pattern)
            continue
        if files.settings.get(ALERTMANAGER, {}).get("alertmanager_templates"):
            what = f"the templates {pattern} are left out"
            files.say("note", name, at, what, f"those of templates/ are in {TEMPLATES_DIR}")
        else:
            wanted = "files in templates/: what is not there is not deployed"
            files.say("fail", name, at, f"the templates {pattern}", wanted)
    files.give(ALERTMANAGER, "alertmanager_config", config, name)


def _blackbox(files: Files) -> None:
    name = "blackbox.yml"
    if (read := _mapping(files, name)) is None:
        return
    config, line = read
    config = _secret_files(files, name, line, config, "blackbox_secret_files", BLACKBOX, exporters.BLACKBOX_SECRETS)
    for key in config:
        if key != "modules":
            files.say("fail", name, line(key), f"the key {key}", "modules, and nothing beside")
    modules = config.get("modules") or {}
    files.lines |= {f"blackbox_modules.{key}": f"{name}:{line('modules', key)}" for key in as_dict(modules)}
    files.give(BLACKBOX, "blackbox_modules", modules, name)


# --- Files with secrets ---------------------------------------------------------------------------

_FILE_KEY = re.compile(r"(.*_)?file")


def _secret_files(
    files: Files,
    name: str,
    line: Callable[..., int | None],
    config: dict[str, Any],
    setting: str,
    group: Group,
    directory: str,
) -> dict[str, Any]:
    """`config` with files of the directory that it names (`password_file: secrets/smtp`) as the host will have them."""
    taken: dict[str, str] = {}

    def walk(value: Any, path: tuple[str, ...]) -> Any:
        if isinstance(value, dict):
            return {key: walk(inner, (*path, str(key))) for key, inner in value.items()}
        if isinstance(value, list):
            return [walk(inner, (*path, f"[{index}]")) for index, inner in enumerate(value)]
        if not (path and _FILE_KEY.fullmatch(path[-1]) and isinstance(value, str) and value):
            return value
        if value.startswith("/") or value.startswith("secret:"):
            return value
        base = Path(value).name
        # One of secrets/ may be missing where nothing is changed: that is said of every secret in the same way.
        if not value.startswith("secrets/") and not (files.directory / value).is_file():
            files.say(
                "fail", name, line(*path), f"{path[-1]}: {value}, which is no file", "a file in the site's directory"
            )
        elif taken.setdefault(base, value) != value:
            files.say("fail", name, line(*path), f"{value}, and {taken[base]} of the same name", "names that differ")
        return f"{directory}/{base}"

    walked = {key: walk(value, (key,)) for key, value in config.items()}
    if taken:
        files.give(group, setting, {base: f"secret:file:{path}" for base, path in taken.items()}, name)
    return walked


# --- Into an inventory ----------------------------------------------------------------------------

_FILES: weakref.WeakKeyDictionary[Any, Files] = weakref.WeakKeyDictionary()


def of(inventory: Any) -> Files:
    """The files that were put into an inventory."""
    return _FILES.get(inventory) or Files(Path())


def put(inventory: Any, files: Files) -> None:
    """Put the files into pyinfra's inventory, as data of the groups that they are for; what a setting holds beside them
    stays. That a name is given by both is a finding."""
    _FILES[inventory] = files
    layers: dict[str, dict[str, Any]] = {"group_data/all.py": inventory.data}
    layers |= {f"group {name}": data for name, data in inventory.group_data.items()}
    layers |= {f"host {name}": data for name, data in inventory.host_data.items()}
    for group, values in files.settings.items():
        for setting, value in values.items():
            for layer, data in layers.items():
                if setting in data:
                    data[setting] = _both(files, setting, value, data[setting], layer)
            own = inventory.group_data.setdefault(group, {})
            own.setdefault(setting, inventory.data.get(setting, value))


def _both(files: Files, setting: str, value: Any, own: Any, layer: str) -> Any:
    """What a setting holds by a file and by the inventory."""
    many = setting in files.paths or setting.endswith("_files")
    if many and isinstance(own, dict):
        twice = sorted(name for name in set(own) & set(value) if own[name] != value[name])
    else:
        twice = [setting]
    if twice:
        found = f"{setting} in {layer}: {', '.join(twice)}" if many else f"{setting} in {layer} as well"
        files.say("fail", files.sources[setting], None, found, "one of the two: the file, or the setting")
        return own
    return {**value, **own}
