"""The gate of a stage in training: it asks the doctor, and treats what is found or stops the stage."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict

from terrarium.config import Config
from terrarium.doctor.examine import Diagnosis, examine
from terrarium.doctor.finding import Verdict
from terrarium.doctor.readers.run_folder import read_training
from terrarium.errors import HealthError, NotFiniteError, OutOfMemoryError, TrainingError
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
from terrarium.healing.movement import Movement
from terrarium.healing.retake import bad_in_a_row, try_rates
from terrarium.healing.treatments import LOWER, begin_anew, believe, cut_batches, lower_rate, pass_over, stop
from terrarium.healing.trial import LOSS
from terrarium.healing.way_back import WayBack
from terrarium.run.folder import StageFolder, checkpoint_step
from terrarium.train.adjustments import Adjustment, Adjustments
from terrarium.train.interruption import never
from terrarium.train.stages import Stage
from terrarium.train.state import TrainState

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
        self._heal, self._say, self._processes = heal, say, processes
        self._untrained = copy.deepcopy(stage.model)
        self._movement = Movement(stage, self._untrained, folder, say)
        self._way_back = WayBack(stage, self._untrained, folder, config, say, processes)

    def ask(self, step: int, *, last: bool, asked: Callable[[], str] = never) -> Adjustment | None:
        """None to go on, or where to go back to and what to change.

        Raises:
            HealthError: the stage is critical and can't be treated.
            Interrupted: training is to stop while causes are tried; nothing is decided.
        """
        if step % self._stage.config.gate_every and not last:
            return None
        self._movement.note(step)
        diagnosis = examine(read_training(self._folder.path.parent, self._stage.name))
        verdict = diagnosis.stages[self._stage.name]
        if verdict is Verdict.UNKNOWN:
            raise self._stop(Trouble(step, "", step, verdict), "its history can't be read")
        if (lead := illness(diagnosis)) is not None:
            numbers: dict[str, float | None] = {each.name: each.number for each in lead.evidence}
            trouble = Trouble(step, lead.code, onset(diagnosis, lead), verdict, numbers)
            return self._treat(trouble, MEASURES[lead.code], asked)
        self._keep_what_came_before(first_signs(diagnosis))
        write_down(self._folder, Decision(step, What.CONTINUE, verdict, numbers=_loss(diagnosis)))
        return None

    def passed(self, state: TrainState) -> None:
        """Remember the state: training may have to go back to it."""
        self._way_back.remember(state)

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
        stage, untrained, folder, config = self._stage, self._untrained, self._folder, self._config
        start = self._way_back.before(trouble, asked)
        trials = try_rates(stage, untrained, folder, config, start, trouble, measure, asked)
        return believe(trials, config.gates.trial_gain, trouble, checkpoint_step(start))

    def _keep_what_came_before(self, signs: int | None) -> None:
        last = self._way_back.newest_until(signs) if signs is not None else None
        if last is not None:
            self._way_back.keep(last)

    def _in_smaller_parts(self, trouble: Trouble, refusal: TrainingError) -> Decision:
        cut = Adjustments.read(self._folder).accumulation_factor(trouble.step)
        config = self._stage.config
        clips, rest = divmod(config.batch_size, 2 * cut * config.gradient_accumulation)
        if rest or clips < self._processes:
            raise self._stop(trouble, f"a batch can't be cut further: {refusal}")
        return cut_batches(trouble, refusal.what)

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
        start = self._way_back.newest_until(trouble.step - 1)
        reason = "the next batch, good by itself, is not finite either: the rate is lowered from there on"
        return lower_rate(trouble, checkpoint_step(start), LOWER, reason)

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
        self._say(decision.told(self._stage.name))
        adjustment = adjustment_of(asdict(decision), len(cures_tried(self._folder)))
        assert adjustment is not None, decision  # noqa: S101 - only such as go back come here
        return adjustment

    def _stop(self, trouble: Trouble, reason: str) -> HealthError:
        write_down(self._folder, stop(trouble, reason))
        best = "There is no checkpoint before that"
        if (newest := self._way_back.best_known(trouble)) is not None:
            self._way_back.keep(newest)
            best = f"The best known checkpoint is {newest.name}; move later ones away to resume from it"
        what = f"{self._stage.name} is critical at step {trouble.step}: {trouble.code or 'unknown'}, {reason}"
        return HealthError(what, f"{best}. Read the report, or go on with --no-gates.")


def _loss(diagnosis: Diagnosis) -> dict[str, float | None]:
    """The last loss, so that a decision to go on is based on a number too."""
    history = next(iter(diagnosis.evidence.stages.values())).history
    losses = history.columns.get("loss") if history else None
    return {"loss": float(losses[-1])} if losses is not None and losses.size else {}
