"""From evidence to a diagnosis: ask every detector, then separate causes from their effects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from terrarium.doctor.causes import link
from terrarium.doctor.detectors import RUN_DETECTORS, STAGE_DETECTORS, code_of
from terrarium.doctor.evidence import Evidence, Missing
from terrarium.doctor.finding import Finding, Severity, Verdict, worst

VERDICT_OF = {
    Severity.INFO: Verdict.NORMAL,
    Severity.WATCH: Verdict.WATCH,
    Severity.CRITICAL: Verdict.CRITICAL,
}


@dataclass(frozen=True)
class Diagnosis:
    """What the doctor concludes.

    Attributes:
        evidence: what it is based on; its `missing` may have grown.
        verdict: on the whole run.
        stages: stage name -> verdict.
        findings: most important first.
        actions: codes of what to do next, in order, each once, with the place of the finding that asks.
    """

    evidence: Evidence
    verdict: Verdict
    stages: dict[str, Verdict]
    findings: tuple[Finding, ...]
    actions: tuple[tuple[str, int], ...]


def examine(evidence: Evidence) -> Diagnosis:
    """Ask every detector about some evidence, and conclude."""
    found: list[Finding] = []
    failed: list[Missing] = []
    for finding in _ask(evidence):
        (failed if isinstance(finding, Missing) else found).append(finding)  # type: ignore[arg-type]
    evidence = replace(evidence, missing=evidence.missing + tuple(failed))
    findings = tuple(_with_fallback(finding, evidence) for finding in link(found, evidence))
    stages = {name: _verdict(name, findings, evidence) for name in evidence.stages}
    whole_run = _verdict(None, findings, evidence)
    return Diagnosis(evidence, worst([*stages.values(), whole_run]), stages, findings, next_actions(findings))


def _ask(evidence: Evidence) -> Iterator[Finding | Missing]:
    for run_detector in RUN_DETECTORS:
        try:
            yield from run_detector(evidence)
        except Exception as error:
            yield Missing(None, "detector", "failed", f"{code_of(run_detector)}: {error!r}"[:300], True)
    for name, stage in evidence.stages.items():
        for detector in STAGE_DETECTORS:
            try:
                yield from detector(stage)
            except Exception as error:
                yield Missing(name, "detector", "failed", f"{code_of(detector)}: {error!r}"[:300], True)


def _with_fallback(finding: Finding, evidence: Evidence) -> Finding:
    """Make a critical lead ask first to keep a whole checkpoint, and to halt the run unless it is over."""
    if finding.severity is not Severity.CRITICAL or finding.caused_by is not None:
        return finding
    stage = evidence.stages.get(finding.stage or "")
    if stage is None or not stage.usable:
        return finding
    before = [one for one in stage.usable if finding.first_step is not None and one.step < finding.first_step]
    fallback = max(before or stage.usable, key=lambda checkpoint: checkpoint.step)
    first = "keep-checkpoint" if evidence.liveness.alive is False else "freeze-run"
    actions = tuple(dict.fromkeys((first, *finding.actions)))
    names = {"checkpoint": fallback.name} | ({"checkpoint_before": fallback.name} if before else {})
    return replace(finding, values={**names, **finding.values}, actions=actions)


def _verdict(stage: str | None, findings: tuple[Finding, ...], evidence: Evidence) -> Verdict:
    grave = [VERDICT_OF[finding.severity] for finding in findings if finding.stage == stage]
    if any(missing.essential and missing.stage == stage for missing in evidence.missing):
        grave.append(Verdict.UNKNOWN)
    return worst([Verdict.NORMAL, *grave])


ORDER_OF_ACTIONS = (
    # first what keeps the run's work,
    "freeze-run",
    "keep-checkpoint",
    "fix-checkpoint-writer",
    "run-one-launcher",
    "check-disk",
    "distrust-checkpoint",
    # then what removes causes,
    "draw-by-rank",
    "check-data",
    "check-labels-and-loss",
    "thaw-parameters",
    "lower-learning-rate",
    "raise-learning-rate",
    "add-warmup",
    "clip-gradients",
    "restore-optimizer-state",
    "shuffle-data",
    "revive-codebook",
    "widen-actions",
    "retrain-upstream",
    "stop-early-or-regularise",
    "divide-by-accumulation",
    "look-at-rank",
    "check-device",
    "check-loader",
    "find-the-leak",
    "set-clocks",
    # then the way on, and what proves it.
    "smoke-test",
    "resume-before-onset",
    "restart-from-checkpoint",
    "check-effective-rate",
    "train-longer",
    "look-again",
    "redraw-pictures",
    "log-more",
)


def _goes_with_its_cause(finding: Finding, findings: tuple[Finding, ...]) -> bool:
    """Whether curing its cause cures a finding too; a stage trained on an ill one must be retrained."""
    if finding.caused_by is None:
        return False
    cause = findings[finding.caused_by]
    return cause.severity is not Severity.INFO and cause.stage == finding.stage


def next_actions(findings: tuple[Finding, ...]) -> tuple[tuple[str, int], ...]:
    """What to do next, as (code, place of the finding that asks for it), in the order of doing.

    Only leads are cured: what follows from them goes with them. What a critical finding asks for comes
    before what a lesser one does, and unknown codes come last.
    """
    first: dict[str, int] = {}
    for place, finding in enumerate(findings):
        if _goes_with_its_cause(finding, findings):
            continue
        for action in finding.actions:
            first.setdefault(action, place)
    known = {action: rank for rank, action in enumerate(ORDER_OF_ACTIONS)}

    def urgency(item: tuple[str, int]) -> tuple[bool, int, int]:
        action, place = item
        lesser = findings[place].severity is not Severity.CRITICAL
        return lesser, known.get(action, len(ORDER_OF_ACTIONS)), place

    return tuple(sorted(first.items(), key=urgency))
