"""TensorBoard's events: protobuf messages with the time, the step, and numbers by tag.

Both ways of writing a scalar are read: `simple_value`, and a tensor of one element. A training's events are
alike but for time, step and value, so whole groups of them are decoded at once: see `decode`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from terrarium.doctor.history import FloatArray
from terrarium.doctor.json_files import JsonObject
from terrarium.doctor.readers.facts import put
from terrarium.doctor.readers.protobuf import BYTES, FIXED32, FIXED64, VARINT, Field, places, signed, varint
from terrarium.doctor.readers.table import LOGGED_INFINITY, LOGGED_NAN, Table
from terrarium.doctor.readers.tfrecord import Batch, Places

LONGEST_ALIKE = 512
"""Bytes of events that are compared and decoded in groups."""

LONGEST_CHECKED = 2**14
MOST_SHAPES = 16
LONGEST_TAG = 500

WALL_TIME, STEP, SUMMARY = 1, 2, 5
"""Fields of an `Event`."""
VALUE = 1
TAG, SIMPLE_VALUE, TENSOR, METADATA = 1, 2, 8, 9
"""Of a `Summary` and its values."""
DTYPE, CONTENT = 1, 4
_CONTENT_TYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8", 19: "<f2"}
_LISTS = {5: "<f4", 6: "<f8"}
_VARINT_LISTS = (7, 10)
SETTINGS_TAG = "_hparams_/session_start_info"


class Spot(NamedTuple):
    """Where a scalar lies in a piece of a file.

    Attributes:
        wall: where the time begins, 8 bytes; -1 where there is none.
        step: (start, stop) of the step, a varint; (0, 0) where there is none, which means 0.
        tag: of the scalar.
        value: (start, stop).
        dtype: of the value, as numpy calls it; "" for a varint.
    """

    wall: int
    step: tuple[int, int]
    tag: str
    value: tuple[int, int]
    dtype: str


@dataclass
class Scalars:
    """Scalars in the order in which they were logged, one list of pieces for each of their parts."""

    places: list[Places] = field(default_factory=list)
    steps: list[FloatArray] = field(default_factory=list)
    walls: list[FloatArray] = field(default_factory=list)
    tags: list[NDArray[np.int64]] = field(default_factory=list)
    values: list[FloatArray] = field(default_factory=list)
    names: dict[str, int] = field(default_factory=dict)

    def add(self, places: Places, steps: FloatArray, walls: FloatArray, tag: str, values: FloatArray) -> None:
        """Take scalars of one tag, [N] each, with their places in the order of the file."""
        self.places.append(places)
        self.steps.append(steps)
        self.walls.append(walls)
        self.tags.append(np.full(places.size, self.names.setdefault(tag, len(self.names))))
        self.values.append(values)


def decode(batch: Batch, table: Table, config: JsonObject) -> Scalars:
    """The scalars of a batch.

    Args:
        batch: events.
        table: tells which tags are kept, and counts events that are damaged.
        config: takes in the settings of a run, where there are such events.
    """
    scalars = Scalars()
    short = np.flatnonzero(batch.lengths <= LONGEST_ALIKE)
    sound = short[batch.are_sound(short)]
    table.lose(short.size - sound.size, int(batch.lengths[short].sum() - batch.lengths[sound].sum()))
    for length in np.unique(batch.lengths[sound]):
        _decode_alike(batch, sound[batch.lengths[sound] == length], int(length), table, config, scalars)
    for place in np.flatnonzero(batch.lengths > LONGEST_ALIKE):
        _decode_one(batch, int(place), table, config, scalars)
    return scalars


def _decode_alike(
    batch: Batch, chosen: Places, length: int, table: Table, config: JsonObject, scalars: Scalars
) -> None:
    """Events of one length: those that differ from the first in time, step and value only come with it."""
    buffer = np.frombuffer(batch.data, np.uint8)
    for _ in range(MOST_SHAPES):
        if not chosen.size:
            return
        first = int(batch.starts[chosen[0]])
        try:
            spots = list(_spots(batch.data, first, first + length, config))
        except ValueError:
            spots = []
        if len(spots) != 1 or not spots[0].dtype:
            _decode_one(batch, int(chosen[0]), table, config, scalars)
            chosen = chosen[1:]
            continue
        events_NL = buffer[batch.starts[chosen][:, None] + np.arange(length)]
        alike = _alike(events_NL, spots[0], first)
        _take(events_NL[alike], chosen[alike], spots[0], first, table, scalars)
        chosen = chosen[~alike]
    for place in chosen:
        _decode_one(batch, int(place), table, config, scalars)


def _alike(events_NL: NDArray[np.uint8], spot: Spot, first: int) -> NDArray[np.bool_]:
    fixed = np.ones(events_NL.shape[1], dtype=np.bool_)
    wall = (spot.wall, spot.wall + 8) if spot.wall >= 0 else (first, first)
    step = spot.step if spot.step[1] else (first, first)
    for start, stop in (wall, step, spot.value):
        fixed[start - first : stop - first] = False
    ends = slice(step[0] - first, step[1] - first)  # where a varint goes on is part of the shape
    same = (events_NL[:, fixed] == events_NL[0, fixed]).all(axis=1)
    return np.asarray(same & ((events_NL[:, ends] & 0x80) == (events_NL[0, ends] & 0x80)).all(axis=1))


def _take(
    events_NL: NDArray[np.uint8], places: Places, spot: Spot, first: int, table: Table, scalars: Scalars
) -> None:
    if not table.keeps(spot.tag):
        return
    steps = np.zeros(places.size, dtype=np.uint64)
    for shift, column in enumerate(range(spot.step[0] - first, spot.step[1] - first) if spot.step[1] else ()):
        steps |= (events_NL[:, column] & 0x7F).astype(np.uint64) << np.uint64(7 * shift)
    walls = np.full(places.size, np.nan)
    if spot.wall >= 0:
        walls = _column(events_NL, spot.wall - first, 8, "<f8")
    start, stop = spot.value[0] - first, spot.value[1] - first
    values = _column(events_NL, start, stop - start, spot.dtype)
    scalars.add(places, steps.view(np.int64).astype(np.float64), walls, spot.tag, _coded(values))


def _column(events_NL: NDArray[np.uint8], start: int, size: int, dtype: str) -> FloatArray:
    part = np.ascontiguousarray(events_NL[:, start : start + size])
    return np.asarray(part.view(dtype)[:, 0], dtype=np.float64)


def _coded(values: FloatArray) -> FloatArray:
    return np.where(np.isnan(values), LOGGED_NAN, np.where(np.isinf(values), LOGGED_INFINITY, values))


def _decode_one(batch: Batch, place: int, table: Table, config: JsonObject, scalars: Scalars) -> None:
    start, length = int(batch.starts[place]), int(batch.lengths[place])
    try:
        spots = list(_spots(batch.data, start, start + length, config))
    except ValueError:
        table.lose(1, length)
        return
    unchecked = LONGEST_ALIKE < length <= LONGEST_CHECKED
    if spots and unchecked and not batch.are_sound(np.array([place]))[0]:
        table.lose(1, length)
        return
    for spot in spots:
        if table.keeps(spot.tag):
            step = signed(varint(batch.data, spot.step[0])[0]) if spot.step[1] else 0
            wall = struct.unpack_from("<d", batch.data, spot.wall)[0] if spot.wall >= 0 else np.nan
            value = np.array([_value(batch.data, spot)], dtype=np.float64)
            scalars.add(np.array([place]), np.array([float(step)]), np.array([wall]), spot.tag, _coded(value))


def _value(data: bytes, spot: Spot) -> float:
    start, stop = spot.value
    if not spot.dtype:
        return float(signed(varint(data, start)[0]))
    return float(np.frombuffer(data[start:stop], spot.dtype)[0])


def _spots(data: bytes, start: int, stop: int, config: JsonObject) -> Iterator[Spot]:
    """The scalars of one event.

    Raises:
        ValueError: it is not a whole message.
    """
    wall, step = -1, (0, 0)
    for item in places(data, start, stop):
        if item.number == WALL_TIME and item.kind == FIXED64:
            wall = item.start
        elif item.number == STEP and item.kind == VARINT:
            step = (item.start, item.stop)
        elif item.number == SUMMARY and item.kind == BYTES:
            for value in places(data, item.start, item.stop):
                if value.number == VALUE and value.kind == BYTES:
                    yield from _spot_of_value(data, value, wall, step, config)


def _spot_of_value(
    data: bytes, value: Field, wall: int, step: tuple[int, int], config: JsonObject
) -> Iterator[Spot]:
    tag, where, dtype = "", None, ""
    for item in places(data, value.start, value.stop):
        if item.number == TAG and item.kind == BYTES:
            tag = data[item.start : min(item.stop, item.start + LONGEST_TAG)].decode(errors="replace")
        elif item.number == SIMPLE_VALUE and item.kind == FIXED32:
            where, dtype = (item.start, item.stop), "<f4"
        elif item.number == TENSOR and item.kind == BYTES:
            where, dtype = _spot_of_tensor(data, item)
        elif item.number == METADATA and item.kind == BYTES and tag == SETTINGS_TAG:
            _put_settings(data, item, config)
    if tag and where:
        yield Spot(wall, step, tag, where, dtype)


def _spot_of_tensor(data: bytes, tensor: Field) -> tuple[tuple[int, int] | None, str]:
    """Where the one element of a tensor lies, and its type; None for a tensor of several."""
    content_type = ""
    for item in places(data, tensor.start, tensor.stop):
        size = item.stop - item.start
        if item.number == DTYPE and item.kind == VARINT:
            content_type = _CONTENT_TYPES.get(varint(data, item.start)[0], "")
        elif item.number in _VARINT_LISTS and size and varint(data, item.start)[1] == item.stop:
            return (item.start, item.stop), ""
        else:
            dtype = content_type if item.number == CONTENT else _LISTS.get(item.number, "")
            if dtype and item.kind != VARINT and size == np.dtype(dtype).itemsize:
                return (item.start, item.stop), dtype
    return None, ""


def _put_settings(data: bytes, metadata: Field, config: JsonObject) -> None:
    """What `add_hparams` of TensorBoard's writers tells of the run."""
    for keys in _nested(data, metadata, (1, 2, 3, 1)):
        name, value = "", None
        for item in places(data, keys.start, keys.stop):
            if item.number == 1 and item.kind == BYTES:
                name = data[item.start : item.stop].decode(errors="replace")
            elif item.number == 2 and item.kind == BYTES:
                value = _setting(data, item)
        put(config, [name[:LONGEST_TAG]], value)


def _nested(data: bytes, message: Field, path: tuple[int, ...]) -> Iterator[Field]:
    if not path:
        yield message
        return
    for item in places(data, message.start, message.stop):
        if item.number == path[0] and item.kind == BYTES:
            yield from _nested(data, item, path[1:])


def _setting(data: bytes, value: Field) -> float | bool | str | None:
    for item in places(data, value.start, value.stop):
        if item.kind == FIXED64:
            return float(struct.unpack_from("<d", data, item.start)[0])
        if item.kind == BYTES:
            return data[item.start : item.stop][:4000].decode(errors="replace")
        if item.kind == VARINT and item.number == 4:
            return bool(varint(data, item.start)[0])
    return None
