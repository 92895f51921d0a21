"""Stages together: what is built on a stage can't be better than that stage."""

from __future__ import annotations

from collections.abc import Iterator

from terrarium.doctor.detectors.actions import actions_collapsed
from terrarium.doctor.detectors.codes import codebook_collapsed
from terrarium.doctor.detectors.loss_chance import loss_not_learning, loss_worse_than_chance
from terrarium.doctor.detectors.loss_trend import loss_diverging
from terrarium.doctor.detectors.loss_values import loss_constant, loss_not_finite
from terrarium.doctor.evidence import Evidence, StageEvidence
from terrarium.doctor.finding import Finding, Number, Severity

BUILT_ON: dict[str, tuple[str, ...]] = {"dynamics": ("video_tokenizer", "latent_actions")}
"""A stage, and those whose frozen results it is trained on."""

GRAVE = (
    loss_not_finite,
    loss_constant,
    loss_diverging,
    loss_worse_than_chance,
    loss_not_learning,
    codebook_collapsed,
    actions_collapsed,
)


def upstream_unsound(evidence: Evidence) -> Iterator[Finding]:
    """A stage is trained on the results of one that is ill.

    Looks for: rows of the dynamics beside a video tokenizer or latent actions of the same run whose loss or
    whose codes are critically ill.

    Why it matters: the dynamics predicts the tokenizer's codes from the actions' codes, and the tokenizer
    draws what it predicts. It can't be better than they are, however well its own loss looks: predicting
    codes that are always the same is easy.

    What to do: repair the earlier stage first, then train this one again on its results.

    Silent when: the earlier stages are well, are only worth a look (a narrow action code limits the world,
    it does not spoil the dynamics), or this one has not begun.
    """
    for name, earlier in BUILT_ON.items():
        stage = evidence.stages.get(name)
        if stage is None or not stage.kept.rows:
            continue
        for upstream in earlier:
            ill = _gravely_ill(evidence.stages.get(upstream))
            if ill is not None:
                yield _unsound(stage, upstream, ill)


def _gravely_ill(stage: StageEvidence | None) -> Finding | None:
    if stage is None:
        return None
    findings = (finding for detector in GRAVE for finding in detector(stage))
    return next((finding for finding in findings if finding.severity is Severity.CRITICAL), None)


def _unsound(stage: StageEvidence, upstream: str, ill: Finding) -> Finding:
    first, last = int(stage.kept.steps[0]), int(stage.kept.steps[-1])
    decisive = ill.evidence[0]
    return Finding(
        "upstream-unsound",
        Severity.WATCH,
        stage.name,
        first,
        last,
        (Number(decisive.file, f"{upstream}: {decisive.name}", decisive.number, decisive.threshold),),
        {"upstream": upstream, "illness": ill.code, "first_step": first, "last_step": last},
        confidence=ill.confidence,
        actions=("retrain-upstream",),
    )
