"""The gate of a stage in training: it asks the doctor, and treats what is found or stops the stage."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection
from dataclasses import asdict, replace
from pathlib import Path

from terrarium.config import Config
from terrarium.doctor.detectors.movement import LEAST_STEPS
from terrarium.doctor.examine import Diagnosis, examine
from terrarium.doctor.finding import Verdict
from terrarium.doctor.readers.run_folder import read_training
from terrarium.errors import CheckpointError, HealthError, NotFiniteError, OutOfMemoryError, TrainingError
from terrarium.healing.cures import MEASURES, first_signs, illness, onset
from terrarium.healing.decisions import (
    Decision,
    Trouble,
    What,
    adjustment_of,
    cures_tried,
    tries_of,
    write_down,
)
from terrarium.healing.movement import note_unmoved
from terrarium.healing.retake import bad_in_a_row, try_rates
from terrarium.healing.treatments import LOWER, begin_anew, believe, cut_batches, lower_rate, pass_over, stop
from terrarium.healing.trial import LOSS
from terrarium.healing.way_back import gate_before, gone_back_to, newest_until
from terrarium.run.folder import StageFolder, checkpoint_step
from terrarium.run.retention import pin
from terrarium.train.adjustments import Adjustment, Adjustments
from terrarium.train.interruption import never
from terrarium.train.proof import replay
from terrarium.train.recent import KEPT, Recent, save_recent
from terrarium.train.saver import Snapshot
from terrarium.train.stages import Stage
from terrarium.train.state import TrainState

BEFORE_TROUBLE = "the last one before trouble"
LONGEST_PASSED_OVER = 16  # bad batches in a row that are skipped at once
NOT_FINITE, OUT_OF_MEMORY = "loss-not-finite", "out-of-memory"


class DoctorGate:
    """Asks the doctor about a stage, with the same code that writes the report, and answers training.

    Every answer is a line in the stage's `gates.jsonl`.

    Args:
        stage: the stage before its first step.
        folder: the stage's folder.
        config: the run's configuration.
        heal: whether to treat what is found; otherwise training stops.
        say: prints a line about every decision but to go on.
        processes: how many train it together; no batch is cut so small that one of them has no clip.
    """

    def __init__(
        self,
        stage: Stage,
        folder: StageFolder,
        config: Config,
        *,
        heal: bool,
        say: Callable[[str], None],
        processes: int = 1,
    ) -> None:
        self._stage, self._folder, self._config = stage, folder, config
        self._heal, self._say, self._processes, self._recent = heal, say, processes, Recent()
        self._untrained = copy.deepcopy(stage.model)
        self._told_unmoved: list[str] = []

    def ask(self, step: int, *, last: bool, asked: Callable[[], str] = never) -> Adjustment | None:
        """None to go on, or where to go back to and what to change.

        Raises:
            HealthError: the stage is critical and can't be treated.
            Interrupted: training is to stop while causes are tried; nothing is decided.
        """
        if step % self._stage.config.gate_every and not last:
            return None
        self._note_unmoved(step)
        diagnosis = examine(read_training(self._folder.path.parent, self._stage.name))
        verdict = diagnosis.stages[self._stage.name]
        if verdict is Verdict.UNKNOWN:
            raise self._stop(Trouble(step, "", step, verdict), "its history can't be read")
        if (lead := illness(diagnosis)) is not None:
            numbers: dict[str, float | None] = {each.name: each.number for each in lead.evidence}
            trouble = Trouble(step, lead.code, onset(diagnosis, lead), verdict, numbers)
            return self._treat(trouble, MEASURES[lead.code], asked)
        self._keep_what_came_before(diagnosis)
        write_down(self._folder, Decision(step, What.CONTINUE, verdict, numbers=_loss(diagnosis)))
        return None

    def passed(self, state: TrainState) -> None:
        """Remember the state at every gate: that is a shorter way back than to a checkpoint."""
        if state.step % self._stage.config.gate_every == 0:
            self._recent.remember(state.snapshot())

    def answer(self, refusal: TrainingError, step: int) -> Adjustment:
        """A step was refused: where to go back to and what to change.

        Raises:
            HealthError: it was refused too often.
            TrainingError: the refusal itself, where nothing is to be treated.
        """
        no_room = isinstance(refusal, OutOfMemoryError)
        code = OUT_OF_MEMORY if no_room else NOT_FINITE if isinstance(refusal, NotFiniteError) else ""
        trouble = Trouble(step, code, step)
        if not self._heal or not code:  # for whatever else keeps a step from being taken no batch is to blame
            write_down(self._folder, stop(trouble, str(refusal)))
            raise refusal
        if no_room:
            return self._set_back(self._in_smaller_parts(trouble, refusal))
        self._refuse_too_many(trouble)
        return self._set_back(self._past_what_is_not_finite(trouble, refusal))

    def _treat(self, trouble: Trouble, measure: str | None, asked: Callable[[], str]) -> Adjustment:
        if not self._heal:
            raise self._stop(trouble, "it is not to be treated")
        if measure is None:
            raise self._stop(trouble, "no change of rate or batches would help")
        tried = self._refuse_too_many(trouble)
        last_resort = 0 < tried == self._config.gates.retries - 1
        if measure != LOSS and last_resort:  # codes are made early
            return self._set_back(begin_anew(trouble))
        return self._set_back(self._after_trials(trouble, measure, asked))

    def _after_trials(self, trouble: Trouble, measure: str, asked: Callable[[], str]) -> Decision:
        """Take the same steps on the same batches, at this rate and at lower ones, to find the cure."""
        stage, folder = self._stage, self._folder
        but = gone_back_to(folder, trouble)
        kept = self._recent.newest_until(trouble.onset, but) or self._remade(trouble, but, asked)
        start = self._way_back(trouble, kept, but)
        trials = try_rates(stage, self._untrained, folder, self._config, start, trouble, measure, asked)
        return believe(trials, self._config.gates.trial_gain, trouble, checkpoint_step(start))

    def _remade(self, trouble: Trouble, but: Collection[object], asked: Callable[[], str]) -> Snapshot | None:
        """A state that memory lost with a process that was stopped: the steps to it are taken again."""
        saved, every = newest_until(self._folder, trouble.onset, but), self._stage.config.gate_every
        step, begin = gate_before(trouble, every, but), checkpoint_step(saved)
        longest = KEPT * every + self._stage.config.checkpoint_every
        if step is None or not begin < step <= begin + longest or self._processes > 1:
            return None
        self._say(
            f"{self._stage.name}: the steps from {begin} to {step} are taken again, to go back to there"
        )
        fresh = replace(self._stage, model=self._untrained)
        return replay(fresh, self._folder, self._config, saved, step, asked=asked).snapshot()

    def _way_back(self, trouble: Trouble, kept: Snapshot | None, but: Collection[object] = ()) -> Path | None:
        """A checkpoint from before the onset; a nearer state that was kept becomes one."""
        saved = newest_until(self._folder, trouble.onset, but)
        if kept is None or kept.step <= checkpoint_step(saved):
            return saved
        try:
            return save_recent(kept, self._stage, self._folder, self._config, self._untrained)
        except CheckpointError as error:
            self._say(f"the state of step {kept.step} stays in memory: {error}")
            return saved

    def _past_what_is_not_finite(self, trouble: Trouble, refusal: TrainingError) -> Decision:
        """Skip batches that are bad by themselves. Skip any other once; the next time lower the rate."""
        first = Adjustments.read(self._folder).batch_of(trouble.step)
        count = bad_in_a_row(self._stage, self._untrained, self._config, first, LONGEST_PASSED_OVER)
        if count:
            alike = f", and {count - 1} more that follow" if count > 1 else ""
            return pass_over(trouble, trouble.step, count, f"{refusal.what}{alike}: passed over")
        before = [row.get("onset") for row in cures_tried(self._folder) if row.get("code") == NOT_FINITE]
        if not any(isinstance(each, int) and 0 <= trouble.step - each <= 1 for each in before):
            return pass_over(trouble, trouble.step, 1, f"{refusal.what}: passed over")
        start = newest_until(self._folder, trouble.step - 1)
        reason = "the next batch, good by itself, is not finite either: the rate is lowered from there on"
        return lower_rate(trouble, checkpoint_step(start), LOWER, reason)

    def _in_smaller_parts(self, trouble: Trouble, refusal: TrainingError) -> Decision:
        cut = Adjustments.read(self._folder).accumulation_factor(trouble.step)
        clips, rest = divmod(
            self._stage.config.batch_size, 2 * cut * self._stage.config.gradient_accumulation
        )
        if rest or clips < self._processes:
            raise self._stop(trouble, f"a batch can't be cut further: {refusal}")
        return cut_batches(trouble, refusal.what)

    def _refuse_too_many(self, trouble: Trouble) -> int:
        """How often this very trouble was treated before; raises if that was too often."""
        gates, cures = self._config.gates, cures_tried(self._folder)
        cures = [row for row in cures if row.get("code") != OUT_OF_MEMORY]  # bounded by the batch itself
        again = len(tries_of(trouble, cures))
        if again >= gates.retries:
            raise self._stop(trouble, f"it was set back {again} times for this already")
        if len(cures) >= gates.retries_in_all:
            raise self._stop(trouble, f"it was set back {len(cures)} times in all already")
        return again

    def _set_back(self, decision: Decision) -> Adjustment:
        write_down(self._folder, decision)
        self._say(
            f"{self._stage.name}, step {decision.step}: {decision.code}, since step {decision.onset}. "
            f"{decision.what.capitalize()}: to step {decision.resumed_from}; {decision.reason}"
        )
        adjustment = adjustment_of(asdict(decision), len(cures_tried(self._folder)))
        assert adjustment is not None, decision  # noqa: S101 - only such as go back come here
        return adjustment

    def _stop(self, trouble: Trouble, reason: str) -> HealthError:
        write_down(self._folder, stop(trouble, reason))
        newest = self._way_back(trouble, self._recent.newest_until(trouble.onset))
        best = "There is no checkpoint before that"
        if newest is not None:
            pin(self._folder, newest.name, BEFORE_TROUBLE)
            best = f"The best known checkpoint is {newest.name}; move later ones away to resume from it"
        what = f"{self._stage.name} is critical at step {trouble.step}: {trouble.code or 'unknown'}, {reason}"
        return HealthError(what, f"{best}. Read the report, or go on with --no-gates.")

    def _note_unmoved(self, step: int) -> None:
        unmoved = note_unmoved(self._untrained, self._stage.model, self._folder, step)
        if step >= LEAST_STEPS and unmoved and unmoved != self._told_unmoved:
            self._told_unmoved = unmoved
            self._say(
                f"{self._stage.name}: {len(unmoved)} parameters are what they were before the first step: "
                f"{', '.join(unmoved[:5])}{', ...' if len(unmoved) > 5 else ''}"
            )

    def _keep_what_came_before(self, diagnosis: Diagnosis) -> None:
        signs = first_signs(diagnosis)
        last = newest_until(self._folder, signs) if signs is not None else None
        if last is not None:
            pin(self._folder, last.name, BEFORE_TROUBLE)


def _loss(diagnosis: Diagnosis) -> dict[str, float | None]:
    """The last loss, so that a decision to go on is based on a number too."""
    history = next(iter(diagnosis.evidence.stages.values())).history
    losses = history.columns.get("loss") if history else None
    return {"loss": float(losses[-1])} if losses is not None and losses.size else {}
