"""Which finding leads and which ones follow from it: one illness gives one leading finding."""

from __future__ import annotations

from collections.abc import Sequence

from terrarium.doctor.evidence import Evidence
from terrarium.doctor.finding import Finding, Severity


def link(findings: Sequence[Finding], evidence: Evidence) -> tuple[Finding, ...]:
    """Order findings by importance, and let each point at the one that it follows from.

    Args:
        findings: in any order, none linked.
        evidence: what they were made from.
    """
    del evidence
    order = [Severity.CRITICAL, Severity.WATCH, Severity.INFO]
    return tuple(sorted(findings, key=lambda finding: order.index(finding.severity)))
