"""The gate of a stage in training: the doctor is asked, and what he finds is treated or stops the stage."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection
from pathlib import Path

from terrarium.config import Config
from terrarium.doctor.examine import Diagnosis, examine
from terrarium.doctor.finding import Finding, Verdict
from terrarium.doctor.readers.run_folder import read_training
from terrarium.errors import HealthError, OutOfMemoryError, TrainingError
from terrarium.healing.cures import CURES, Cure, first_signs, illness, onset
from terrarium.healing.decisions import Decision, What, cures_tried, write_down
from terrarium.healing.trial import try_rates
from terrarium.run.folder import StageFolder, parse_checkpoint_name
from terrarium.run.retention import pin
from terrarium.run.survey import list_checkpoints
from terrarium.run.verify import judge
from terrarium.train.adjustments import Adjustment, Adjustments
from terrarium.train.interruption import never
from terrarium.train.stages import Stage

LOWER = 1 / 3
PROVED_BY_TRIAL = "learning-rate-too-high"
BEFORE_TROUBLE = "the last one before trouble"


class DoctorGate:
    """Asks the doctor about a stage, with the code that writes the report, and answers training.

    Every answer is a line in the stage's `gates.jsonl`.

    Args:
        stage: before its first step.
        folder: of the stage.
        config: of the run.
        heal: whether to treat what is found; otherwise it stops training.
        say: is told what was decided, other than to go on.
    """

    def __init__(
        self, stage: Stage, folder: StageFolder, config: Config, *, heal: bool, say: Callable[[str], None]
    ) -> None:
        self._stage, self._folder, self._config = stage, folder, config
        self._heal, self._say = heal, say
        self._untrained = copy.deepcopy(stage.model)

    def ask(self, step: int, *, last: bool, asked: Callable[[], str] = never) -> Adjustment | None:
        """After so many steps: None to go on, or where to go back to and what to change.

        Raises:
            HealthError: the stage is critical and can't be treated.
            Interrupted: training is to leave while causes are tried; nothing is decided.
        """
        if step % self._stage.config.gate_every and not last:
            return None
        diagnosis = examine(read_training(self._folder.path.parent, self._stage.name))
        verdict = diagnosis.stages[self._stage.name]
        if verdict is Verdict.UNKNOWN:
            raise self._stop(Decision(step, What.STOP, verdict, reason="its history can't be read"))
        lead = illness(diagnosis)
        if lead is not None:
            return self._treat(step, diagnosis, lead, asked)
        self._keep_what_came_before(diagnosis)
        write_down(self._folder, Decision(step, What.CONTINUE, verdict, numbers=_loss(diagnosis)))
        return None

    def answer(self, refusal: TrainingError, step: int) -> Adjustment:
        """A step was refused: where to go back to and what to change.

        Raises:
            HealthError: it was refused too often.
            TrainingError: the refusal itself, where nothing is to be treated.
        """
        code = "out-of-memory" if isinstance(refusal, OutOfMemoryError) else "loss-not-finite"
        if not self._heal:
            write_down(self._folder, Decision(step, What.STOP, "", code, step, reason=str(refusal)))
            raise refusal
        self._refuse_too_many(step, "", code, step)
        if code == "out-of-memory":
            return self._smaller_parts(refusal, step)
        return self._past_what_is_not_finite(refusal, step)

    def _treat(self, step: int, diagnosis: Diagnosis, lead: Finding, asked: Callable[[], str]) -> Adjustment:
        verdict, began = diagnosis.stages[self._stage.name], onset(diagnosis, lead)
        numbers: dict[str, float | None] = {each.name: each.number for each in lead.evidence}
        cure = CURES[lead.code]
        if not self._heal or cure is Cure.NONE:
            reason = (
                "it is not to be treated" if not self._heal else "no change of rate or batches would help"
            )
            raise self._stop(Decision(step, What.STOP, verdict, lead.code, began, numbers, reason=reason))
        self._refuse_too_many(step, verdict, lead.code, began)
        if cure is Cure.AFRESH:
            decision = Decision(
                step,
                What.RESTART,
                verdict,
                lead.code,
                began,
                numbers,
                0,
                LOWER,
                step,
                reason="from its beginning",
            )
            return self._set_back(decision)
        start = self._before_trouble(began, lead.code)
        end = min(step, began + self._config.gates.trial_steps)
        trials = try_rates(self._stage, self._untrained, self._folder, self._config, start, began, end, asked)
        gain = self._config.gates.trial_gain
        factor = None if trials.passed(gain) else trials.best(gain)
        back, numbers = _step(start), numbers | trials.numbers()
        if factor is not None:
            reason = f"the same steps at {factor:.3g} of the rate do better"
            decision = Decision(
                step,
                What.RETUNE,
                verdict,
                lead.code,
                began,
                numbers,
                back,
                factor,
                reason=reason,
                cause=PROVED_BY_TRIAL,
            )
        elif trials.passed(gain):
            reason = "the same steps, taken again as they were, do better: nothing is changed"
            decision = Decision(step, What.ROLL_BACK, verdict, lead.code, began, numbers, back, reason=reason)
        else:
            reason = "a lower rate does no better on the same batches: they are passed over"
            decision = Decision(
                step,
                What.ROLL_BACK,
                verdict,
                lead.code,
                began,
                numbers,
                back,
                1.0,
                step - back,
                reason=reason,
            )
        return self._set_back(decision)

    def _past_what_is_not_finite(self, refusal: TrainingError, step: int) -> Adjustment:
        """One bad batch is passed over; where the next one is no better, the rate is lowered."""
        before = [
            row.get("onset") for row in cures_tried(self._folder) if row.get("code") == "loss-not-finite"
        ]
        if not any(isinstance(each, int) and 0 <= step - each <= 1 for each in before):
            skipped = Decision(
                step,
                What.ROLL_BACK,
                "",
                "loss-not-finite",
                step,
                {},
                step,
                1.0,
                1,
                reason=f"{refusal.what}: passed over",
            )
            return self._set_back(skipped)
        start = self._before(step - 1)
        reason = "the next batch is not finite either: the rate is lowered from the last checkpoint on"
        return self._set_back(
            Decision(step, What.RETUNE, "", "loss-not-finite", step, {}, _step(start), LOWER, reason=reason)
        )

    def _smaller_parts(self, refusal: TrainingError, step: int) -> Adjustment:
        """The same batches in twice as many parts: the step stays what it was, but for rounding."""
        parts = self._stage.config.gradient_accumulation * Adjustments.read(self._folder).accumulation_factor(
            step
        )
        if self._stage.config.batch_size % (2 * parts):
            raise self._stop(
                Decision(
                    step,
                    What.STOP,
                    "",
                    "out-of-memory",
                    step,
                    reason=f"a batch can't be cut further: {refusal}",
                )
            )
        return self._set_back(
            Decision(
                step,
                What.RETUNE,
                "",
                "out-of-memory",
                step,
                {},
                step,
                accumulation_factor=2,
                reason=refusal.what,
            )
        )

    def _refuse_too_many(self, step: int, verdict: str, code: str, began: int) -> None:
        tried = len(cures_tried(self._folder))
        if tried >= self._config.gates.retries:
            reason = f"it was set back {tried} times already"
            raise self._stop(Decision(step, What.STOP, verdict, code, began, reason=reason))

    def _set_back(self, decision: Decision) -> Adjustment:
        write_down(self._folder, decision)
        self._say(
            f"{self._stage.name}, step {decision.step}: {decision.code}, since step {decision.onset}. "
            f"{decision.what.capitalize()}: to step {decision.resumed_from}; {decision.reason}"
        )
        return Adjustment(
            decision.resumed_from or 0,
            decision.rate_factor,
            decision.skip_batches,
            decision.cause or decision.code,
            decision.accumulation_factor,
        )

    def _stop(self, decision: Decision) -> HealthError:
        write_down(self._folder, decision)
        newest = self._before(decision.onset if decision.onset is not None else decision.step)
        best = (
            f"The best known checkpoint is {newest.name}" if newest else "There is no checkpoint before that"
        )
        return HealthError(
            f"{self._stage.name} is critical at step {decision.step}: {decision.code or 'unknown'}, "
            f"{decision.reason}",
            f"{best}. Read the report, or go on with --no-gates.",
        )

    def _before_trouble(self, began: int, code: str) -> Path | None:
        """The newest whole checkpoint before an onset, but none that was gone back to for it in vain."""
        tried = cures_tried(self._folder)
        vain = {
            row.get("resumed_from")
            for row in tried
            if row["what"] == What.ROLL_BACK and row.get("code") == code
        }
        return self._before(began, vain)

    def _before(self, step: int, vain: Collection[object] = ()) -> Path | None:
        """The newest whole checkpoint of this step or an earlier one, but none of those that are in vain."""
        for path in reversed(list_checkpoints(self._folder)):
            if (
                _step(path) <= step
                and _step(path) not in vain
                and judge(path, run_id=self._folder.run_id, kind=self._folder.name).whole
            ):
                return path
        return None

    def _keep_what_came_before(self, diagnosis: Diagnosis) -> None:
        signs = first_signs(diagnosis)
        last = self._before(signs) if signs is not None else None
        if last is not None:
            pin(self._folder, last.name, BEFORE_TROUBLE)


def _step(checkpoint: Path | None) -> int:
    named = parse_checkpoint_name(checkpoint.name) if checkpoint else None
    return named[1] if named else 0


def _loss(diagnosis: Diagnosis) -> dict[str, float | None]:
    """The last loss, so that a decision to go on rests on a number too."""
    history = next(iter(diagnosis.evidence.stages.values())).history
    losses = history.columns.get("loss") if history else None
    return {"loss": float(losses[-1])} if losses is not None and losses.size else {}
