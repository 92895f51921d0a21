"""dataset.json: what a dataset folder holds, as strict and bounded types.

The file may come from strangers, so every name, number and range is checked before it is believed: names
follow one pattern (without separators, so none leads out of the folder), episodes lie inside their shards and
never overlap (so held-out frames can't be training frames), and the fingerprint matches the content.
"""

from __future__ import annotations

import hashlib
import json
from itertools import pairwise
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from terrarium.errors import DataError

FORMAT = 1
INDEX_NAME = "dataset.json"
MAX_INDEX_BYTES = 64 << 20
AGAIN = "Record or ingest the footage again."
MAX_SIDE = 4096  # pixels: a frame of 50 MB, far above what any model here takes
MAX_RATE = 1000  # frames per second

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Text = Annotated[str, Field(max_length=500)]
Count = Annotated[int, Field(ge=1, le=1 << 40)]
Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]


class Strict(BaseModel):
    """A part of the index: unknown keys, loose types, NaN and infinities are refused."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class ActionFile(Strict):
    """The true actions of a shard's frames: little-endian int64, one per frame, for scoring only."""

    file: Annotated[str, Field(pattern=r"^actions-[0-9]{5}\.i64$")]
    sha256: Sha256


class Shard(Strict):
    """A file of `frames` raw uint8 frames, `frames * height * width * 3` bytes without a header."""

    file: Annotated[str, Field(pattern=r"^frames-[0-9]{5}\.u8$")]
    frames: Count
    sha256: Sha256
    actions: ActionFile | None = None


class EpisodeEntry(Strict):
    """Frames `start` to `start + frames` of shard number `shard`."""

    shard: Annotated[int, Field(ge=0, lt=100_000)]
    start: Annotated[int, Field(ge=0, le=1 << 40)]
    frames: Count
    held_out: bool
    source: Text

    @property
    def stop(self) -> int:
        """One past the episode's last frame, counted in its shard."""
        return self.start + self.frames


class Index(Strict):
    """Everything that dataset.json says except the fingerprint, which is computed from it."""

    format: Annotated[int, Field(ge=1, le=FORMAT)]
    source: Text
    frames_per_second: Annotated[float, Field(gt=0, le=MAX_RATE)] | None
    height: Side
    width: Side
    action_names: Annotated[tuple[Text, ...], Field(min_length=1, max_length=4096)] | None
    episodes: Annotated[tuple[EpisodeEntry, ...], Field(min_length=2, max_length=1_000_000)]
    shards: Annotated[tuple[Shard, ...], Field(min_length=1, max_length=100_000)]

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        files = [shard.file for shard in self.shards]
        files += [shard.actions.file for shard in self.shards if shard.actions]
        if len(files) != len(set(files)):
            raise ValueError("a file is named twice")
        if any((shard.actions is None) != (self.action_names is None) for shard in self.shards):
            raise ValueError("action_names and the shards' action files don't agree")
        if len({episode.held_out for episode in self.episodes}) != 2:
            raise ValueError("both training and held-out episodes are needed")
        self._check_ranges()
        return self

    def _check_ranges(self) -> None:
        ordered = sorted(self.episodes, key=lambda episode: (episode.shard, episode.start))
        for episode in ordered:
            if episode.shard >= len(self.shards) or episode.stop > self.shards[episode.shard].frames:
                raise ValueError("an episode reaches beyond its shard")
        if any(a.shard == b.shard and a.stop > b.start for a, b in pairwise(ordered)):
            raise ValueError("two episodes share frames")

    @property
    def frame_bytes(self) -> int:
        """Bytes of one stored frame."""
        return self.height * self.width * 3

    @property
    def fingerprint(self) -> str:
        """sha256 over the shards' hashes and everything else in the index, in one canonical spelling."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def to_json(self) -> str:
        """The text of dataset.json, fingerprint included."""
        return json.dumps({**self.model_dump(mode="json"), "fingerprint": self.fingerprint}, indent=1) + "\n"


class _Stored(Index):
    """The index as stored in the file, with the fingerprint that it claims."""

    # Named differently from the property that it must equal, so that neither shadows the other.
    claimed: Annotated[Sha256, Field(alias="fingerprint")]

    def index(self) -> Index:
        return Index.model_construct(**{name: getattr(self, name) for name in Index.model_fields})


class _Format(BaseModel):
    format: Annotated[int, Field(strict=True)]


def parse_index(data: bytes, name: str) -> Index:
    """Read the bytes of a dataset.json.

    Args:
        data: the file's content.
        name: what error messages call the file.

    Raises:
        DataError: not JSON, not a dataset's index, of a newer format, contradictory, or changed by hand.
    """
    if len(data) > MAX_INDEX_BYTES:
        raise DataError(f"{name} is larger than {MAX_INDEX_BYTES >> 20} MB", "It is not a dataset's index.")
    try:
        found = _Format.model_validate_json(data).format
        if found > FORMAT:
            raise DataError(
                f"{name} has format {found}, this Terrarium reads up to {FORMAT}",
                "Update Terrarium to open it.",
            )
        stored = _Stored.model_validate_json(data)
    except ValidationError as error:
        raise DataError(
            f"{name} is damaged: {_first(error)}", "Record or ingest the footage again."
        ) from error
    index = stored.index()
    if index.fingerprint != stored.claimed:
        raise DataError(
            f"{name} is damaged: its fingerprint doesn't match its content",
            "Record or ingest the footage again.",
        )
    return index


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else first["msg"]
