"""Exams: one run of each of twenty faults and thirteen healthy shapes, once for each seed."""

from __future__ import annotations

from collections.abc import Sequence

from patients.runs.scoring import Marks

EXAM_FAULTY = (
    "diverges-from-the-start",
    "diverges-late",
    "creeps-up",
    "becomes-nan",
    "inf-recovers",
    "spike-stays",
    "never-learns",
    "is-constant",
    "codebook-collapses",
    "actions-collapse",
    "entropy-swings",
    "throughput-halves",
    "stalls",
    "steps-repeat",
    "jumps-after-a-resume",
    "rate-is-zero",
    "starts-without-warm-up",
    "saws",
    "overfits",
    "rate-is-too-high",
)
EXAM_HEALTHY = (
    "plateau",
    "small-batches",
    "bumps",
    "spikes-recover",
    "smoke-run",
    "warm-up-rise",
    "cosine-restarts",
    "curriculum-step",
    "clean-resume",
    "only-the-tail",
    "learns-slowly",
    "noisy-validation",
    "groks-late",
)


def exams(
    marks: Sequence[Marks], faulty: Sequence[str] = EXAM_FAULTY, healthy: Sequence[str] = EXAM_HEALTHY
) -> list[dict[str, int]]:
    """One exam for each seed: how many of its faulty and healthy runs went which way.

    Args:
        marks: of all kinds of the exam, and perhaps of others.
        faulty: kinds that it has one run of each.
        healthy: as many healthy ones.
    """
    results = []
    for seed in sorted({mark.case.seed for mark in marks}):
        ill = [mark for mark in marks if mark.case.seed == seed and mark.case.kind in faulty]
        well = [mark for mark in marks if mark.case.seed == seed and mark.case.kind in healthy]
        results.append(
            {
                "typed": sum(mark.typed for mark in ill),
                "lead": sum(mark.lead for mark in ill),
                "onset": sum(mark.onset for mark in ill),
                "false alarms": sum(bool(mark.alarms) for mark in well),
                "critical": sum(bool(mark.critical) for mark in well),
            }
        )
    return results
