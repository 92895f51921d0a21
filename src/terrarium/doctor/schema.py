"""`report.json` as types: what docs/report.md documents and docs/report.schema.json says to machines.

Numbers that are not finite are the texts "inf", "-inf" and "nan"; a figure not known is null or absent.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

Number: TypeAlias = float | Literal["inf", "-inf", "nan"]
Count: TypeAlias = Annotated[int, Field(ge=0)]
Severity: TypeAlias = Literal["info", "watch", "critical"]
Verdict: TypeAlias = Literal["normal", "watch", "critical", "unknown"]


class Part(BaseModel):
    """Closed to keys that are not documented."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Spread(Part):
    """A column of a history over its finite values."""

    first: Number
    last: Number
    min: Number
    max: Number
    median: Number


class Window(Part):
    """The loss over a window of steps."""

    first_step: Count
    last_step: Count
    rows: Count
    mean: Number
    median: Number


class Process(Part):
    """Whether something still trains."""

    alive: bool | None = Field(description="null where it can't be told")
    how: str = Field(description='code of how that is known: "lock-held", "lock-free", "rows-fresh", ...')
    idle_seconds: Number | None = Field(description="since the last row was written")
    said: str = Field(description="the same as a sentence")


class Numbers(Part):
    """The figures of a stage; of a stage without rows only some."""

    rows: Count = Field(description="rows that were read, those that a restart took back too")
    damaged_lines: Count = Field(0, description="lines or records that could not be read")
    first_step: int | None = None
    last_step: int | None = None
    rows_out_of_order: Count = Field(0, description="rows whose step is not above that of the row before")
    not_finite_rows: Count = Field(0, description="rows whose loss is no number")
    first_not_finite_step: int | None = None
    planned_steps: int | None = Field(None, description="by the configuration")
    discarded_rows: Count = Field(0, description="rows that resumes took back, where the run says")
    discarded_reasons: dict[str, int] = Field({}, description="reason -> rows")
    chance_levels: dict[str, Number] = Field({}, description="name -> loss that guessing reaches")
    loss: Spread | None = None
    loss_thirds: list[Number] = Field([], description="mean loss of each third of the rows")
    loss_windows: list[Window] = Field([], description="windows of a round number of steps")
    seconds: Number | None = Field(None, description="of training, by the clock of the rows")
    steps_per_second: Number | None = Field(None, description="over the whole run")
    steps_per_second_recent: Number | None = Field(None, description="over the last `recent_steps`")
    recent_steps: int | None = None
    frames_per_second: Number | None = None
    frames_per_second_recent: Number | None = None
    remaining_steps: int | None = Field(None, description="planned less taken")
    eta_hours: Number | None = Field(None, description="remaining steps at the speed of the whole run")
    eta_hours_recent: Number | None = Field(None, description="at the recent speed")
    measures: dict[str, Spread] = Field({}, description="the stage's own, such as action_entropy (nats)")
    learning_rate: Spread | None = None
    grad_norm: Spread | None = None
    device_use: Spread | None = Field(None, description="a fraction, where it was recorded")
    process: Process


class Rank(Part):
    """One of several processes that trained a stage together."""

    rank: Count
    ready_seconds: Number | None = Field(description="until it was ready for the first sum of a step, median")
    waiting_share: Number | None = Field(description="of the time, from then until the last one was ready")
    steps_per_second_alone: Number | None = Field(description="if it never had to wait so")
    same_clips_steps: Count = Field(description="steps in which it had the clips of another rank")
    clock_ahead_seconds: Number | None = Field(
        description="of the rank in the middle, of the first one where there are two; median"
    )


class Ranks(Part):
    """Processes that trained a stage together, over the steps with as many of them as in the end."""

    count: Count
    changes: Count = Field(description="how often their number changed")
    damaged_lines: Count = Field(description="lines of `ranks.jsonl` that could not be read")
    steps: Count
    first_step: int
    last_step: int
    step_seconds: Number | None = Field(description="mean, pauses cut to five times the median")
    same_clips_steps: Count = Field(description="steps in which some ranks had the same clips")
    by_rank: list[Rank]


class Decision(Part):
    """What training decided at a gate, other than to go on."""

    step: Count | None = Field(description="steps taken when it was made")
    what: str = Field(
        description='"retune", "roll back", "restart stage", "stop"; "continue" if it fell short'
    )
    code: str = Field(description="of the finding that led to it")
    cause: str = Field(description="code of what a trial proved")
    reason: str = Field(description="in the log's own words")
    onset: Count | None = Field(description="step at which the trouble began")
    resumed_from: Count | None = Field(description="step that training went back to")
    rate_factor: Number | None = Field(description="of the learning rate, from there on")
    skip_batches: Count | None = Field(description="batches passed over there")
    accumulation_factor: Count | None = Field(
        description="parts of a batch, from there on, by what they were"
    )
    numbers: dict[str, Number | None] = Field(description="name -> number that it rests on")
    said: str = Field(description="the decision as a sentence")


class Gates(Part):
    """What a stage in training asked, and what was decided."""

    source: str
    asked: Count = Field(description="how often")
    damaged_lines: Count = Field(description="lines of `gates.jsonl` that could not be read")
    decisions: list[Decision]


class Stage(Part):
    """One stage."""

    verdict: Verdict
    numbers: Numbers
    ranks: Ranks | None = Field(None, description="where several processes trained it")
    gates: Gates | None = Field(None, description="where training asked whether it may go on")


class Checkpoint(Part):
    """One checkpoint, judged by its content."""

    step: int = Field(description="-1 where neither name nor content tells")
    name: str
    level: int = Field(description="highest level that it passed, 0 to 3; -1 for none")
    judged_to: int = Field(description="level that it was held to")
    whole: bool = Field(description="whether it can be used")
    flaw: str = Field(
        description='code of what is wrong: "empty", "damaged", "not-finite", ...; "" for nothing'
    )
    detail: str = Field(description="file and place")
    bytes: Count
    reason: str = Field(description="flaw and detail as a sentence")


class Checkpoints(Part):
    """The checkpoints of a stage."""

    total: Count
    usable: Count
    resume_from: int | None = Field(description="step to go on from: newest usable one from before trouble")
    items: list[Checkpoint]


class Evidence(Part):
    """A number that a finding rests on, the decisive one first."""

    file: str
    name: str
    number: Number | None
    threshold: Number | None
    unit: str


class Finding(Part):
    """One thing that is wrong, or worth knowing."""

    code: str = Field(description="of the detector: `terrarium diagnose --explain CODE`")
    severity: Severity
    stage: str | None
    first_step: int | None = Field(description="where it began, not where it could first be told")
    last_step: int | None
    title: str
    message: str
    cause: str
    confidence: Annotated[float, Field(ge=0, le=1)]
    refuted_by: str = Field(description="what would show that the cause is another")
    evidence: list[Evidence]
    actions: list[str]
    caused_by: int | None = Field(description="place in `findings` of what it follows from")


class Picture(Part):
    """A picture that a stage drew."""

    stage: str
    what: str
    step: int
    path: str = Field(description="relative to what was examined")
    when: str = Field(description='"early", "late" or "only" where it is shown')
    rows: Count
    columns: Count
    row_labels: list[str]


class Missing(Part):
    """Something that could not be examined."""

    stage: str | None
    what: str
    why: str
    title: str
    reason: str
    essential: bool = Field(description="whether a verdict without it would be a guess")


class Report(Part):
    """All of `report.json`."""

    format: Literal[2]
    terrarium: str = Field(description="version that wrote it")
    language: str = Field(description="of the sentences")
    verdict: Verdict
    summary: str
    run: dict[str, Any] = Field(description="folder, kind, and what run.json says")
    process: Process
    stages: dict[str, Stage]
    checkpoints: dict[str, Checkpoints]
    findings: list[Finding] = Field(description="most important first")
    actions: list[str] = Field(description="what to do, in order")
    scores: dict[str, Any] = Field(description="what scores.json says")
    pictures: list[Picture]
    missing: list[Missing]


if __name__ == "__main__":
    import json

    print(json.dumps(Report.model_json_schema(), indent=2))  # noqa: T201 - that is what it is run for
