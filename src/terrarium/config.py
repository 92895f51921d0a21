"""The whole configuration: one typed tree, checked before anything is built.

A preset (presets.py) picks a size, `override(config, ["dynamics.steps=200"])` changes a value. Sizes, counts
and rates are bounded by their types, so a value that can't work is refused here, by name.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from terrarium.errors import UsageError

Count = Annotated[int, Field(ge=1, le=10**9)]
Width = Annotated[int, Field(ge=8, le=8192, multiple_of=8)]
Rate = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)]
Level = Annotated[int, Field(ge=2, le=64)]


class Section(BaseModel):
    """Frozen, and closed to keys that don't exist."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class StageConfig(Section):
    """What every stage has: how long, on what, how fast, and what is kept.

    The learning rate warms up linearly over `warmup_steps`, stays, and falls to zero linearly over the last
    `cooldown` of the steps (warm-up, stable, decay).
    """

    steps: Count
    batch_size: Count = Field(description="clips per optimizer step, over all micro-batches")
    clip_frames: Count = Field(description="frames per clip")
    learning_rate: Rate
    gradient_accumulation: Count = 1
    warmup_steps: Annotated[int, Field(ge=0)] = 50
    cooldown: Fraction = 0.3
    weight_decay: Fraction = 0.01
    gradient_clip: Annotated[float, Field(gt=0, le=1000)] = 1.0
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.99
    checkpoint_every: Count = 100
    picture_every: Count = 200
    gate_every: Count = Field(25, description="steps between two questions to the doctor")
    keep_checkpoints: Count = 3
    failed_saves: Count = Field(3, description="saves that may fail in a row before training stops")
    stall_seconds: Annotated[float, Field(ge=0.1, le=86400)] = Field(
        90.0, description="least time without a step that is reported as a stall"
    )

    @property
    def micro_batch(self) -> int:
        """Clips in a micro-batch."""
        return self.batch_size // self.gradient_accumulation

    @model_validator(mode="after")
    def _whole_micro_batches(self) -> Self:
        if self.batch_size % self.gradient_accumulation:
            raise ValueError(
                f"batch_size {self.batch_size} can't be divided by "
                f"gradient_accumulation {self.gradient_accumulation}"
            )
        return self


class VideoTokenizerConfig(StageConfig):
    """A convolutional autoencoder with finite scalar quantization; total stride 8."""

    levels: tuple[Level, ...] = (8, 5, 5, 5)
    width: Width = 16
    decoder_width: Width = 32
    motion_weight: Weight = Field(4.0, description="extra weight of a pixel that moves, where 1 is the mean")

    @model_validator(mode="after")
    def _tokens_fit_two_bytes(self) -> Self:
        if not 1 <= len(self.levels) <= 8 or math.prod(self.levels) > 65536:
            raise ValueError(f"levels {self.levels} give {math.prod(self.levels)} codes; at most 65536 fit")
        return self


class LatentActionsConfig(StageConfig):
    """Binary codes of the change between two frames, learnt by having to predict the second one."""

    bits: Annotated[int, Field(ge=1, le=3)] = Field(3, description="2 ** bits codes")
    width: Width = 32
    motion_size: Annotated[int, Field(ge=8, le=256)] = Field(16, description="rows that frames are pooled to")
    radius: Annotated[int, Field(ge=1, le=8)] = Field(2, description="largest displacement, in pooled pixels")
    past_frames: Annotated[int, Field(ge=0, le=8)] = Field(
        2, description="past changes that the decoder sees"
    )
    past_dropout: Fraction = Field(0.5, description="how often they are hidden from it")
    soft_share: Fraction = Field(0.5, description="share of training samples whose code is not rounded")

    @model_validator(mode="after")
    def _a_change_beyond_the_past(self) -> Self:
        if self.clip_frames < self.past_frames + 2:
            raise ValueError(
                f"clip_frames {self.clip_frames} leave nothing to predict after {self.past_frames} past "
                f"changes; {self.past_frames + 2} is the least"
            )
        return self


class DynamicsConfig(StageConfig):
    """A causal trunk over clean past frames and a small head over the masked present one."""

    width: Width = 128
    heads: Count = 4
    trunk_layers: Count = 2
    head_layers: Count = 2
    context_frames: Count = Field(8, description="how far back attention over time reaches")
    corruption: Fraction = Field(0.1, description="largest share of past tokens replaced at random")
    whole_mask: Fraction = Field(0.5, description="how often a present frame is masked whole")
    changed_weight: Weight = Field(3.0, description="weight of a token that differs from the frame before")
    decoding_steps: Annotated[int, Field(ge=1, le=64)] = 2

    @model_validator(mode="after")
    def _whole_heads(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} can't be divided by heads {self.heads}")
        return self

    @model_validator(mode="after")
    def _a_past_and_a_present(self) -> Self:
        if self.clip_frames < 2:
            raise ValueError(f"clip_frames {self.clip_frames} hold no past to learn from; 2 is the least")
        return self


class EvaluateConfig(Section):
    """How much held-out footage is scored."""

    clips: Count = Field(64, description="clips for roll-outs and action effects")
    frames: Count = Field(2048, description="frames for the tokenizer's and the latent actions' scores")
    horizons: tuple[Count, ...] = (1, 4, 16, 64)
    timing_steps: Count = 100
    inverse_model_steps: Annotated[int, Field(ge=0)] = 400


class GatesConfig(Section):
    """What is done where the doctor finds a stage critical, and what the finished world must show."""

    retries: Annotated[int, Field(ge=0, le=100)] = Field(
        3, description="times that a stage may be set back for the same trouble"
    )
    retries_in_all: Annotated[int, Field(ge=0, le=1000)] = Field(
        10, description="times that it may be set back in all, running out of memory not counted"
    )
    trial_steps: Count = Field(
        100, description="most steps, counted from the onset, that are taken again to try a cause"
    )
    trial_share: Fraction = Field(
        0.05, description="share of a stage's steps that may go into one trial; 72 are always allowed"
    )
    trial_gain: Fraction = Field(
        0.03, description="share of the loss that a lower rate must gain to be believed"
    )
    play: bool = Field(True, description="whether the finished world must reach the next two")
    least_delta_psnr: float = Field(0.0, description="dB; the lower end of ΔPSNR's interval must be above it")
    least_gain: float = Field(0.0, description="dB; roll-outs must be above the copied last frame by more")


class RanksConfig(Section):
    """How several processes train one model; ignored where there is only one."""

    strategy: Literal["ddp", "fsdp"] = Field("ddp", description="whole weights in each process, or shards")
    checkpoints: Literal["gathered", "sharded"] = Field(
        "gathered", description="written whole by the first process, or by each its part"
    )
    timeout_seconds: Annotated[float, Field(ge=1, le=86400)] = Field(
        600.0, description="how long one process may keep the others waiting within a step"
    )


class Config(Section):
    """Everything that decides what a run becomes, apart from its footage."""

    preset: str
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    video_tokenizer: VideoTokenizerConfig
    latent_actions: LatentActionsConfig
    dynamics: DynamicsConfig
    evaluate: EvaluateConfig = EvaluateConfig()
    gates: GatesConfig = GatesConfig()
    ranks: RanksConfig = RanksConfig()


def override(config: Config, assignments: Iterable[str]) -> Config:
    """Change values: each assignment is `dotted.key=value`, the value in JSON or a bare word.

    Raises:
        UsageError: an assignment has no `=`, a key does not exist, or a value is not allowed.
    """
    tree = config.model_dump()
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise UsageError(f"--set {assignment!r} has no '='", "Write --set dynamics.steps=200.")
        _assign(tree, key.strip(), _parse(text.strip()))
    return from_tree(tree, "--set")


def from_tree(tree: object, source: str) -> Config:
    """Check a tree of plain values, as read from `run.json`.

    Raises:
        UsageError: a key or value is not allowed; `source` says where it came from.
    """
    try:
        # strict JSON: `true` is not taken for a number, and a list may stand for a tuple
        return Config.model_validate_json(json.dumps(tree), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        value = "" if isinstance(first["input"], dict) else f" = {first['input']!r}"
        raise UsageError(f"{source}: {key}{value} is not allowed: {first['msg']}") from error


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, object]:
    """A tree of plain values as one level: dotted key -> value."""
    rows: dict[str, object] = {}
    for key, value in tree.items():
        rows |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return rows


def _parse(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # not JSON, or more digits or brackets than Python accepts
        return text


def _assign(tree: dict[str, Any], key: str, value: object) -> None:
    *parents, last = key.split(".")
    node = tree
    for parent in parents:
        child = node.get(parent)
        if not isinstance(child, dict):
            raise _unknown(key, parent, node)
        node = child
    if last not in node or isinstance(node[last], dict):
        raise _unknown(key, last, node)
    node[last] = value


def _unknown(key: str, part: str, node: dict[str, Any]) -> UsageError:
    close = difflib.get_close_matches(part, node, n=1)
    hint = f"Did you mean {close[0]!r}? " if close else ""
    return UsageError(f"there is no setting {key!r}", f"{hint}There are: {', '.join(node)}.")
