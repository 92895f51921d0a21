"""Configurations in YAML, JSON and TOML as plain values: bounded, and nothing in them is built or run."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import yaml
from pydantic_core import from_json

from terrarium.doctor.json_files import JsonObject
from terrarium.run import disk

LARGEST_CONFIG_BYTES = 2**18
MOST_ALIASES = 50
MOST_YAML_EVENTS = 20_000
DEEPEST_YAML = 32
LONGEST_SCALAR = 4000

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DAMAGED = (yaml.YAMLError, ValueError, TypeError, OverflowError, RecursionError, AttributeError)


class _InertLoader(_Loader):  # type: ignore[misc]
    """Values of types that YAML does not know (`!!python/tuple`) become plain lists, mappings or None."""


def _inert(loader: Any, _: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_mapping(node, deep=True) if isinstance(node, yaml.MappingNode) else None


_InertLoader.add_multi_constructor("", _inert)


def read_config(path: Path) -> JsonObject:
    """Read a configuration.

    Returns:
        Its keys and values; those that W&B wraps (`{desc: null, value: 0.01}`) unwrapped.

    Raises:
        OSError: it can't be read.
        ValueError: it is too large, damaged, no mapping, or built to grow when read.
    """
    content = disk.read_bounded(path, LARGEST_CONFIG_BYTES)
    try:
        if path.suffix.lower() == ".json":
            value = from_json(content)
        elif path.suffix.lower() == ".toml":
            value = tomllib.loads(content.decode("utf-8"))
        else:
            value = _yaml(content)
    except _DAMAGED as error:
        raise ValueError("can't be read as a configuration") from error
    if not isinstance(value, dict) or not value:
        raise ValueError("is not a configuration")
    return unwrap(value)


def _yaml(content: bytes) -> Any:
    depth = aliases = 0
    for count, event in enumerate(yaml.parse(content, Loader=_Loader)):
        aliases += isinstance(event, yaml.AliasEvent)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        long = isinstance(event, yaml.ScalarEvent) and len(event.value) > LONGEST_SCALAR
        if count > MOST_YAML_EVENTS or aliases > MOST_ALIASES or depth > DEEPEST_YAML or long:
            raise ValueError("is too large or too deeply nested")
    return yaml.load(content, Loader=_InertLoader)  # noqa: S506 - a safe loader that knows less


def unwrap(config: JsonObject) -> JsonObject:
    """A W&B configuration without the `value:` around every entry; any other as it is."""
    plain = {str(key): value for key, value in config.items() if key not in ("_wandb", "wandb_version")}
    return {key: value["value"] if _wrapped(value) else value for key, value in plain.items()}


def _wrapped(value: Any) -> bool:
    return isinstance(value, dict) and "value" in value and set(value) <= {"value", "desc"}
