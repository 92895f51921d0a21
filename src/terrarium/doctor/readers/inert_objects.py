"""What the objects in a pickle become here: plain data, or stand-ins that do nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

MOST_DEPTH = 64
MOST_VALUES = 100_000
LONGEST_LIST = 10_000
LONGEST_TEXT = 2_000
LONGEST_KEY = 200


@dataclass(frozen=True, slots=True)
class Global:
    """A name that a pickle asks for, such as `torch._utils._rebuild_tensor_v2`; it is never fetched."""

    name: str


@dataclass(eq=False, slots=True)
class Opaque:
    """An object of a class that is not known: its name, and what it was to be made of."""

    name: str
    args: object = ()
    state: object = None
    items: list[object] = field(default_factory=list)
    entries: dict[object, object] = field(default_factory=dict)


@dataclass(eq=False, slots=True)
class Storage:
    """The bytes that tensors lie in: type, key in the file, number of elements; all of it unchecked."""

    dtype: str
    key: str
    elements: int


@dataclass(eq=False, slots=True)
class Tensor:
    """A tensor as torch describes it: type; offset, shape and strides in elements; all of it unchecked."""

    storage: object
    dtype: str
    offset: object
    shape: object
    strides: object


@dataclass(eq=False, slots=True)
class Array:
    """A numpy array with its bytes; all of it unchecked."""

    dtype: object = None
    shape: object = ()
    data: bytes | bytearray | str = b""


@dataclass(eq=False, slots=True)
class ArrayType:
    """A numpy type: its code such as "f8", and its byte order."""

    code: str
    order: str = "="


def find_tensors(
    value: object, path: tuple[str, ...] = (), seen: set[int] | None = None
) -> Iterator[tuple[tuple[str, ...], Tensor | Array]]:
    """Every tensor and array below a value with the keys that lead to it; a shared part is visited once.

    Raises:
        ValueError: it is nested too deeply.
    """
    if isinstance(value, Tensor | Array):
        yield path, value
        return
    seen = set() if seen is None else seen
    if len(path) > MOST_DEPTH:
        raise ValueError("is nested too deeply")
    for key, item in _parts(value):
        if isinstance(item, Tensor | Array):
            yield (*path, _text(key)), item
        elif isinstance(item, dict | list | tuple | Opaque) and item and id(item) not in seen:
            seen.add(id(item))
            yield from find_tensors(item, (*path, _text(key)), seen)


def _parts(value: object) -> Iterable[tuple[object, object]]:
    match value:
        case dict():
            return value.items()
        case list() | tuple():
            return enumerate(value)
        case Opaque():
            parts = {"args": value.args, "state": value.state, "items": value.items, "entries": value.entries}
            return parts.items()
    return ()


def plain(value: object) -> object:
    """Dicts with text for keys, lists, texts, numbers and None, of bounded size, whatever the value was.

    An object becomes a dict of its attributes where it has such, and its name otherwise; a tensor becomes
    "tensor F32 [3, 4]"; lists over `LONGEST_LIST` and what lies deeper than `MOST_DEPTH` become words.

    Raises:
        ValueError: it holds more than `MOST_VALUES`, shared parts counted each time.
    """
    return _plain(value, MOST_DEPTH, iter(range(MOST_VALUES)))


def _plain(value: object, depth: int, budget: Iterator[int]) -> object:
    if next(budget, None) is None:
        raise ValueError(f"holds more than {MOST_VALUES} values")
    if isinstance(value, Opaque) and depth:
        return _plain(_content(value), depth - 1, budget)
    if isinstance(value, dict) and depth:
        return {_text(key): _plain(item, depth - 1, budget) for key, item in value.items()}
    if isinstance(value, list | tuple) and depth and len(value) <= LONGEST_LIST:
        return [_plain(item, depth - 1, budget) for item in value]
    return _leaf(value)


def _leaf(value: object) -> str | int | float | None:
    match value:
        case None | bool() | float():
            return value
        case int():
            return value if value.bit_length() <= 64 else "a large number"
        case str():
            return value[:LONGEST_TEXT]
        case Tensor(dtype=dtype, shape=shape):
            return f"tensor {dtype[:LONGEST_KEY]} {_shape(shape)}"
        case Global(name):
            return name[:LONGEST_KEY]
    return type(value).__name__


def _content(value: Opaque) -> object:
    """What an unknown object amounts to: its attributes, its entries, or its one argument, as an enum has."""
    match value.state, value.args:
        case ({"_content": content}, _) | ({"_val": content}, _):  # OmegaConf's containers and leaves
            return content
        case ({} as state, _) | ((_, {} as state), _) if state:
            return state
        case _, (str() | int() | float() as only,):
            return value.entries or value.items or only
    return value.entries or value.items or value.name[:LONGEST_KEY]


def _shape(shape: object) -> str:
    sizes = list(islice(shape, 8)) if isinstance(shape, tuple | list) else []
    return str([size if isinstance(size, int) and size.bit_length() <= 64 else "?" for size in sizes])


def _text(key: object) -> str:
    match key:
        case str():
            return key[:LONGEST_KEY]
        case None | bool() | int() | float():
            return str(key)
        case Global():
            return key.name[:LONGEST_KEY]
    return type(key).__name__
