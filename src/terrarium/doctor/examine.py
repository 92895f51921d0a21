"""From evidence to a diagnosis: every detector is asked, then causes are told from what follows from them."""

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
        evidence: what it was concluded from; its `missing` may have grown.
        verdict: of the whole.
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
    findings = link(found, evidence)
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


def _verdict(stage: str | None, findings: tuple[Finding, ...], evidence: Evidence) -> Verdict:
    grave = [VERDICT_OF[finding.severity] for finding in findings if finding.stage == stage]
    if any(missing.essential and missing.stage == stage for missing in evidence.missing):
        grave.append(Verdict.UNKNOWN)
    return worst([Verdict.NORMAL, *grave])


RANK = (
    "freeze-run",
    "fix-checkpoint-writer",
)


def next_actions(findings: tuple[Finding, ...]) -> tuple[tuple[str, int], ...]:
    """What to do next: first what keeps the run's work, then what removes causes, then what proves it."""
    first: dict[str, int] = {}
    for place, finding in enumerate(findings):
        for action in finding.actions:
            first.setdefault(action, place)
    known = {action: rank for rank, action in enumerate(RANK)}
    return tuple(sorted(first.items(), key=lambda item: (known.get(item[0], len(RANK)), item[1])))
