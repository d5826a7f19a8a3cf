"""Loading settings: pydantic models, YAML files, command-line flags and dotted overrides.

Later sources win: defaults < `--config` file < flags < `--set key=value`. A key that no model knows is
refused with the nearest right name, so that a typing error never trains silently with a default.
"""

import argparse
import difflib
import re
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from ernie_pipe.errors import InputError


class Settings(BaseModel):
    """Base of all settings: unknown keys and numbers that are not finite are errors, values are frozen once loaded."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


S = TypeVar("S", bound=Settings)
# A name in the key of an override: quoted where it holds dots.
_NAME = r'(?:"[^"]+"|[^."]+)'


class _Unambiguous(yaml.SafeLoader):
    """YAML's safe loader, but a key that stands twice is an error: the first would be lost without a word."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"`{key.value}` stands twice", key.start_mark)
            seen.add(key.value)
        return node


def load_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML mapping; `InputError` when the file is missing, unreadable or no mapping."""
    try:
        data = yaml.load(Path(path).read_text(encoding="utf-8"), Loader=_Unambiguous)
    except FileNotFoundError:
        raise InputError(f"{path}: no such config file") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: not readable as YAML: {' '.join(str(error).split())}") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected `key: value` lines, found a {type(data).__name__}")
    return data


def apply_overrides(data: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Return `data` with `a.b=value` strings applied; values are read as YAML (`[1, 2]`, `true`, `3`).

    A key that has dots itself is found where `data` has it already (`tasks.package.module:Class.size=3`); a new one is
    quoted (`tasks."package.module:Class".size=3`).
    """
    result: dict[str, Any] = _copy(data)
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key:
            raise InputError(f"--set {override}: write it as key=value, for example --set seed=7")
        node: Any = result
        names = _names(key, override)
        while len(names) > 1 and len(names) > (known := _known(node, names)):
            node = _child(node, ".".join(names[:known]), override)
            names = names[known:]
        last = ".".join(names)
        try:
            parsed = yaml.safe_load(value)
        except yaml.YAMLError:
            raise InputError(f"--set {override}: {value!r} is not a YAML value") from None
        if isinstance(node, list):
            node[_index(node, last, override)] = parsed
        else:
            node[last] = parsed
    return result


def _names(key: str, override: str) -> list[str]:
    """Split `a."b.c".d` at the dots outside of quotes."""
    if not re.fullmatch(_NAME + rf"(?:\.{_NAME})*", key):
        raise InputError(f"--set {override}: write names with dots between, in double quotes one that has dots itself")
    return [name.strip('"') for name in re.findall(_NAME, key)]


def _known(node: Any, names: list[str]) -> int:
    """Return how many of `names` make up the next key: as many as make one that is there, else one."""
    found = [size for size in range(len(names), 1, -1) if isinstance(node, dict) and ".".join(names[:size]) in node]
    return found[0] if found else 1


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value


def _child(node: Any, name: str, override: str) -> Any:
    if isinstance(node, list):
        return node[_index(node, name, override)]
    child = node.setdefault(name, {})
    if child is None:
        child = node[name] = {}
    if not isinstance(child, dict | list):
        raise InputError(f"--set {override}: `{name}` is a single value, it has no keys below it")
    return child


def _index(node: list, name: str, override: str) -> int:
    if not name.isdigit() or int(name) >= len(node):
        raise InputError(f"--set {override}: `{name}` must be a number from 0 to {len(node) - 1}")
    return int(name)


def validate(cls: type[S], data: Mapping[str, Any], *, where: str) -> S:
    """Build `cls` from `data`; every problem becomes one line that names its key."""
    try:
        return cls.model_validate(dict(data))
    except ValidationError as error:
        raise InputError("; ".join(_explain(cls, item, where) for item in error.errors()[:5])) from None


def _explain(cls: type[BaseModel], item: Any, where: str) -> str:
    location = [str(part) for part in item["loc"]]
    key = ".".join(location)
    if item["type"] == "extra_forbidden":
        known = _fields_at(cls, location[:-1])
        return f"{where}: unknown key `{key}`{nearest(location[-1], known)}"
    message = item["msg"].removeprefix("Value error, ")
    return f"{where}: `{key}`: {message}" if key else f"{where}: {message}"


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean …?` for the known name closest to `name`, or the list of known names."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean `{close[0]}`?" if close else f"; known: {', '.join(known)}"


def _fields_at(cls: type[BaseModel], location: list[str]) -> list[str]:
    models = [cls]
    for name in location:
        annotations = [model.model_fields[name].annotation for model in models if name in model.model_fields]
        if annotations:
            models = [model for annotation in annotations for model in _models_in(annotation)]
    return [name for model in models for name in model.model_fields]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in typing.get_args(annotation) for model in _models_in(inner)]


def add_arguments(
    parser: argparse.ArgumentParser,
    cls: type[Settings],
    *,
    skip: Iterable[str] = (),
    defaults: Mapping[str, Any] | None = None,
) -> None:
    """Give `parser` one flag for each plain field of `cls`, and `--config` and `--set` for all of them.

    `defaults` are what the help shows in place of the defaults of `cls`.
    """
    shown = defaults or {}
    parser.add_argument("--config", metavar="YAML", help="read settings from this file")
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help="change one setting")
    for name, field in cls.model_fields.items():
        kind = _flag_type(field.annotation)
        if kind is None or name in skip:
            continue
        flag = "--" + name.replace("_", "-")
        usual = shown.get(name, field.get_default(call_default_factory=True))
        default = "needed" if field.is_required() else f"default: {usual}"
        text = f"{field.description or ''} ({default})".replace("%", "%%")
        if kind is bool:
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=text)
        elif kind is list:
            parser.add_argument(flag, nargs="+", default=argparse.SUPPRESS, help=text)
        else:
            parser.add_argument(flag, default=argparse.SUPPRESS, help=text)


def _flag_type(annotation: Any) -> type | None:
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        inner = [part for part in typing.get_args(annotation) if part is not type(None)]
        if len(inner) > 1:
            # A number or a word such as `auto`: what it is, the model says.
            return str if all(_flag_type(part) in (str, int, float) for part in inner) else None
        annotation = inner[0]
    if typing.get_origin(annotation) is typing.Literal:
        return str
    if typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    if annotation in (str, int, float, bool):
        return typing.cast(type, annotation)
    return list if annotation == list[str] else None


def positive(text: str) -> int:
    """Read a flag that must be a whole number of 1 or more."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def from_arguments(cls: type[S], args: argparse.Namespace) -> S:
    """Merge the `--config` file, the flags that were given and the `--set` overrides into settings."""
    values, where = given_arguments(cls, args)
    return validate(cls, values, where=where)


def given_arguments(cls: type[Settings], args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Return what file, flags and overrides say, not checked yet, and the place to name when it is wrong."""
    data = load_yaml(args.config) if args.config else {}
    where = args.config or "command line"
    flags = {name: value for name, value in vars(args).items() if name in cls.model_fields}
    if args.set:
        where += " with --set" if args.config else ""
    return apply_overrides({**data, **flags}, args.set), where
