"""What was found about a run, as plain values: readers make it, detectors use it, pages show it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path

from terrarium.doctor.decisions import Decisions
from terrarium.doctor.history import FloatArray, History
from terrarium.doctor.json_files import JsonObject
from terrarium.doctor.ranks import Together
from terrarium.doctor.saved import Checkpoint, Refused, Unmoved


class Kind(StrEnum):
    """What was given, which decides what can be missing: nobody expects checkpoints from a bare history."""

    RUN = "run"  # a run folder of ours
    TREE = "tree"  # somebody's tree of results, or one stage of it
    HISTORY = "history"  # histories alone


@dataclass(frozen=True)
class Missing:
    """Something that could not be examined; that is a result, too.

    Attributes:
        stage: the stage it belongs to ("play" for the finished world), or None for the whole run.
        what: code of what is missing, a key of `[missing]` in the language files: "history", "pictures", ...
        why: code of the reason, a key of `[why]` in the language files.
        detail: names and figures for the reason's sentence, from files: to be escaped when shown.
        essential: whether a verdict without it would be a guess.
    """

    stage: str | None
    what: str
    why: str
    detail: str = ""
    essential: bool = False


@dataclass(frozen=True)
class Plan:
    """What a training was asked to do, as far as its configuration says; None where it does not.

    Attributes:
        source: the file that says it, or "" where there is none.
        steps: planned optimizer steps.
        learning_rate: at its peak.
        schedule: such as "constant", "cosine", "linear", "onecycle"; lower case.
        schedule_steps: how many steps the schedule spans; `steps` if it does not say.
        warmup_steps: of the learning rate.
        gradient_accumulation_steps: micro-batches per optimizer step.
        codes: size of the codebook that this stage quantises with, or (dynamics) predicts.
        actions: number of latent action codes.
        chance_levels: losses that guessing reaches, by name, where the stage declares them.
        several_writers: processes (ranks) that took part in the run, where it is said.
    """

    source: str = ""
    steps: int | None = None
    learning_rate: float | None = None
    schedule: str | None = None
    schedule_steps: int | None = None
    warmup_steps: int | None = None
    gradient_accumulation_steps: int | None = None
    codes: int | None = None
    actions: int | None = None
    chance_levels: dict[str, float] = field(default_factory=dict)
    several_writers: int | None = None


@dataclass(frozen=True)
class Look:
    """What a picture shows, in numbers that do not depend on contrast; all are of one grey image.

    Attributes:
        rank: effective rank of the image, exp of the entropy of its normalised singular values.
        contrast: standard deviation of the grey values, 0 to 255.
        fine: share of the spectrum's energy in the finest octave of frequencies, 0 to 1.
        motion: mean absolute difference of neighbouring frames, grey levels; NaN for a single frame.
        plain: share of pixels that are like their neighbours, 0 to 1.
        striped: share of the variance that is one value per row or one per column, 0 to 1.
        blocky: how much better patches explain the image than patches half a step aside, 0 to 1.
        repeats: how exactly it repeats along its rows and its columns, 0 to 1.
    """

    rank: float
    contrast: float
    fine: float
    motion: float = math.nan
    plain: float = 0.0
    striped: float = 0.0
    blocky: float = 0.0
    repeats: float = 0.0


@dataclass(frozen=True)
class Pair:
    """The truth and what a model made of it, in one picture.

    Attributes:
        truth: the ground truth.
        model: the model's picture of the same.
        error: mean absolute difference, grey levels, 0 to 255.
        resembles: correlation of the two, -1 to 1; NaN where one is flat.
    """

    truth: Look
    model: Look
    error: float
    resembles: float


@dataclass(frozen=True)
class Picture:
    """One picture of a stage.

    Attributes:
        stage: the stage that drew it.
        what: its subject, the file name before "_step_".
        step: the training step it was drawn at.
        path: the PNG file.
        when: "early" or "late" among the pictures of its subject that are shown, "only" where there is one,
            "" where it is examined but not shown.
        rows: rows of the grid, 0 where nothing says.
        columns: columns of the grid (time steps), 0 where nothing says.
        row_labels: what each row shows ("truth", "model"), possibly fewer than rows.
        pairs: truth against model, one per row pair that could be told apart; empty where none could.
    """

    stage: str
    what: str
    step: int
    path: Path
    when: str = ""
    rows: int = 0
    columns: int = 0
    row_labels: tuple[str, ...] = ()
    pairs: tuple[Pair, ...] = ()


@dataclass(frozen=True, eq=False)
class StageEvidence:
    """What one stage left behind; parts that are missing are empty or None.

    Attributes:
        name: `video_tokenizer`, `latent_actions`, `dynamics`, or a stranger's own name.
        kind: what it was found in.
        source: the history's file, relative to what was examined; "" where there is none.
        config: its configuration as it stands in the file.
        plan: what the configuration says that detectors know how to use.
        history: its rows.
        discarded: reason -> number of rows that resumes took back, where the run says.
        checkpoints: by rising step.
        pictures: by subject and rising step.
        unmoved: parameters that training did not move; None where nobody noted it.
        ranks: what several processes said after each step; None where there was one, or none said anything.
        refused: the state that was refused last when it was to be saved; None where none was.
        decisions: what training decided at its gates; None where it asked nothing.
    """

    name: str
    kind: Kind = Kind.HISTORY
    source: str = ""
    config: JsonObject = field(default_factory=dict)
    plan: Plan = field(default_factory=Plan)
    history: History | None = None
    discarded: dict[str, int] = field(default_factory=dict)
    checkpoints: tuple[Checkpoint, ...] = ()
    pictures: tuple[Picture, ...] = ()
    unmoved: Unmoved | None = None
    ranks: Together | None = None
    refused: Refused | None = None
    decisions: Decisions | None = None

    def series(self, column: str) -> tuple[FloatArray, FloatArray]:
        """(steps, finite values) [N] of one column: see `History.series`; empty where there is none."""
        return self.kept.series(column)

    @property
    def usable(self) -> tuple[Checkpoint, ...]:
        """Those of the checkpoints that are whole, by rising step."""
        return tuple(checkpoint for checkpoint in self.checkpoints if checkpoint.whole)

    @cached_property
    def kept(self) -> History:
        """The history without rows that a later restart took back; empty where there is none."""
        return History.empty() if self.history is None else self.history.kept()


@dataclass(frozen=True)
class Liveness:
    """Whether a process is still writing.

    Attributes:
        alive: None where it can't be told.
        how: code of how that is known, a key of `[alive]` in the language files: "lock-held", "lock-free",
            "rows-fresh", "rows-old", "copied", "unknown".
        idle_seconds: since the last row was written, by the files' own time; None where unknown.
    """

    alive: bool | None = None
    how: str = "unknown"
    idle_seconds: float | None = None


@dataclass(frozen=True)
class Evidence:
    """Everything that was found.

    Attributes:
        path: what was given, resolved; a common parent where several paths were.
        kind: what it is.
        run: `run.json`, or empty.
        stages: stage name -> what it left behind, in training order.
        scores: `scores.json`, or empty.
        liveness: whether something still trains.
        missing: what could not be examined.
    """

    path: Path
    kind: Kind = Kind.HISTORY
    run: JsonObject = field(default_factory=dict)
    stages: dict[str, StageEvidence] = field(default_factory=dict)
    scores: JsonObject = field(default_factory=dict)
    liveness: Liveness = field(default_factory=Liveness)
    missing: tuple[Missing, ...] = ()
