"""A pickle machine that runs nothing: pickle's stack and opcodes, with inert objects only.

The standard unpickler, however restricted, imports, calls and hashes what a file wants, and allocates what it
claims. Here the opcodes are decoded by `pickletools`, which only parses, and each moves plain values or
stand-ins on a stack. Sizes, numbers of opcodes and keys are bounded, so that no file costs more than seconds.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from terrarium.doctor.readers.inert_globals import call, is_dangerous, persistent, set_state
from terrarium.doctor.readers.inert_objects import Global, Opaque
from terrarium.run.flaw import Flaw

MOST_BYTES = 32 * 2**20
"""A pickle holds names and shapes, not weights: 100,000 tensors fit into this."""

MOST_OPCODES = 2_000_000
MOST_DANGEROUS = 100
_LONGEST_NAME = 1_000


@dataclass(frozen=True)
class Unpickled:
    """What a pickle holds.

    Attributes:
        value: plain values, and the stand-ins of `inert_objects`.
        dangerous: full names of the globals in it that are known to run something.
        length: bytes up to and with its end; another pickle may follow.
    """

    value: object
    dangerous: tuple[str, ...]
    length: int


def unpickle(content: bytes, start: int = 0) -> Unpickled:
    """Read one pickle without executing anything in it.

    Args:
        content: the bytes; what follows the pickle is left alone.
        start: where it begins.

    Raises:
        Flaw: it is no whole pickle ("damaged"), or larger than any checkpoint needs ("too-large").
    """
    if len(content) - start > MOST_BYTES:
        raise Flaw(f"pickle of more than {MOST_BYTES} bytes", "too-large")
    file = io.BytesIO(content)
    file.seek(start)
    machine = _Machine()
    try:
        value = machine.run(file)
    except Flaw:
        raise
    except Exception as error:  # the bytes decide what is done to what: anything can be the wrong operand
        raise Flaw(f"pickle, byte {file.tell()}: {type(error).__name__}") from error
    return Unpickled(value, tuple(dict.fromkeys(machine.dangerous)), file.tell() - start)


@dataclass
class _Machine:
    """The state of the machine: a stack, the stacks below the open marks, and the memo."""

    stack: list[object] = field(default_factory=list)
    below: list[list[object]] = field(default_factory=list)
    memo: dict[object, object] = field(default_factory=dict)
    dangerous: list[str] = field(default_factory=list)

    def run(self, file: io.BytesIO) -> object:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
            if count >= MOST_OPCODES:
                raise Flaw(f"pickle of more than {MOST_OPCODES} opcodes", "too-large")
            name = opcode.name
            if name == "STOP":
                return self.stack.pop()
            step = _OPCODES.get(name)
            if step is not None:
                step(self, argument)
            elif argument is not None:  # one of the many ways to write a text, a number or bytes
                self.stack.append(argument)
        raise Flaw("pickle without an end")

    def push(self, value: object) -> None:
        self.stack.append(value)

    def pop(self) -> object:
        return self.stack.pop()

    def last(self, count: int) -> list[object]:
        """Pop this many values, in the order in which they were pushed."""
        return [self.stack.pop() for _ in range(count)][::-1]

    def put(self, place: object) -> None:
        self.memo[place] = self.stack[-1]

    def mark(self) -> None:
        self.below.append(self.stack)
        self.stack = []

    def since_mark(self) -> list[object]:
        """Pop everything pushed since the last mark."""
        items = self.stack
        self.stack = self.below.pop()
        return items

    def drop(self) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.since_mark()

    def extend(self, items: list[object]) -> None:
        target = self.stack[-1]
        if isinstance(target, list | Opaque):
            (target if isinstance(target, list) else target.items).extend(items)

    def update(self, items: list[object]) -> None:
        target = self.stack[-1]
        entries = target.entries if isinstance(target, Opaque) else target
        if isinstance(entries, dict):
            entries.update(zip(map(_key, items[::2]), items[1::2], strict=True))

    def fetch(self, module: object, name: object) -> Global:
        full = f"{module}.{name}" if isinstance(module, str) and isinstance(name, str) else ""
        if not 1 < len(full) < _LONGEST_NAME:
            raise Flaw("pickle: a global without a name")
        if len(self.dangerous) < MOST_DANGEROUS and is_dangerous(full):
            self.dangerous.append(full)
        return Global(full)

    def apply(self, function: object, args: object, _keywords: object = None) -> None:
        match function, args:
            case Global("builtins.getattr" | "__builtin__.getattr"), (Global(owner), str(name)):
                self.fetch(owner, name)  # a detour to what a name would say at once
        self.push(call(function, args))

    def build(self) -> None:
        state = self.pop()
        set_state(self.stack[-1], state)


def _key(key: object) -> object:
    """A key for a dict, of a kind that hashes fast: the hash of nested tuples can take forever."""
    match key:
        case str() | float() | bool() | bytes() | Global() | Opaque() | None:
            return key
        case int() if key.bit_length() <= 60:
            return key
        case tuple() if len(key) <= 8 and all(type(part) is str and len(part) <= 200 for part in key):
            return ".".join(map(str, key))
    return Opaque(type(key).__name__)


def _dict(items: list[object]) -> dict[object, object]:
    return dict(zip(map(_key, items[::2]), items[1::2], strict=True))


def _first_and_rest(items: list[object]) -> tuple[object, tuple[object, ...]]:
    return items[0], tuple(items[1:])


_Step: TypeAlias = Callable[[_Machine, Any], None]
_OPCODES: dict[str, _Step] = {
    **dict.fromkeys(("PROTO", "FRAME", "READONLY_BUFFER"), lambda *_: None),
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "MARK": lambda machine, _: machine.mark(),
    "POP": lambda machine, _: machine.drop(),
    "POP_MARK": lambda machine, _: machine.since_mark().clear(),
    "DUP": lambda machine, _: machine.push(machine.stack[-1]),
    **dict.fromkeys(("EMPTY_LIST", "EMPTY_SET"), lambda machine, _: machine.push([])),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    **dict.fromkeys(("LIST", "FROZENSET"), lambda machine, _: machine.push(machine.since_mark())),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.since_mark())),
    "TUPLE1": lambda machine, _: machine.push(tuple(machine.last(1))),
    "TUPLE2": lambda machine, _: machine.push(tuple(machine.last(2))),
    "TUPLE3": lambda machine, _: machine.push(tuple(machine.last(3))),
    "DICT": lambda machine, _: machine.push(_dict(machine.since_mark())),
    "APPEND": lambda machine, _: machine.extend(machine.last(1)),
    **dict.fromkeys(("APPENDS", "ADDITEMS"), lambda machine, _: machine.extend(machine.since_mark())),
    "SETITEM": lambda machine, _: machine.update(machine.last(2)),
    "SETITEMS": lambda machine, _: machine.update(machine.since_mark()),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), lambda machine, place: machine.put(place)),
    "MEMOIZE": lambda machine, _: machine.put(len(machine.memo)),
    **dict.fromkeys(
        ("GET", "BINGET", "LONG_BINGET"), lambda machine, place: machine.push(machine.memo[place])
    ),
    "GLOBAL": lambda machine, names: machine.push(machine.fetch(*names.split(" ", 1))),
    "STACK_GLOBAL": lambda machine, _: machine.push(machine.fetch(*machine.last(2))),
    **dict.fromkeys(("REDUCE", "NEWOBJ"), lambda machine, _: machine.apply(*machine.last(2))),
    "NEWOBJ_EX": lambda machine, _: machine.apply(*machine.last(3)),
    "INST": lambda machine, names: machine.apply(
        machine.fetch(*names.split(" ", 1)), tuple(machine.since_mark())
    ),
    "OBJ": lambda machine, _: machine.apply(*_first_and_rest(machine.since_mark())),
    "BUILD": lambda machine, _: machine.build(),
    "PERSID": lambda machine, reference: machine.push(persistent(reference)),
    "BINPERSID": lambda machine, _: machine.push(persistent(machine.pop())),
    **dict.fromkeys(("EXT1", "EXT2", "EXT4"), lambda machine, _: machine.push(Global("an extension"))),
    "NEXT_BUFFER": lambda machine, _: machine.push(Opaque("buffer")),
}
