"""The fault catalogue, executed: every fault is injected for real, and what became of it is counted.

    python benchmarks/faults [--seeds 3] [--only NAME...] [--quick]

Prints a table: how often each fault was seen, what must not be lost was kept, and the cause was named; how
many steps that took, and how many were taken back (medians). Healthy controls count false alarms. Exits
with 1 where something was lost or a control was alarmed; what went unseen stands in the table.
"""

from __future__ import annotations

import sys
import tempfile
import traceback
from pathlib import Path
from statistics import median

import click
from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "benchmarks"), *(str(ROOT / "tests" / part) for part in ("", "run", "healing"))]

from faults.catalogue import FAULTS  # noqa: E402
from faults.fault import Fault, Outcome  # noqa: E402


@click.command()
@click.option("--seeds", default=3, show_default=True, help="How often each is injected.")
@click.option("--only", multiple=True, help="Part of a name; all by default.")
@click.option("--quick", is_flag=True, help="Only those that take no time.")
def main(seeds: int, only: tuple[str, ...], quick: bool) -> None:
    """Inject, look, count."""
    chosen = [
        fault
        for fault in FAULTS
        if (fault.quick or not quick) and (not only or any(part in fault.name for part in only))
    ]
    table = Table("#", "fault", "seen", "kept", "cause", "delay", "steps taken back", box=box.MARKDOWN)
    bad = 0
    for fault in track(chosen, "injecting", console=Console(stderr=True)):
        outcomes = [inject(fault, seed) for seed in range(seeds)]
        bad += sum((fault.healthy and each.seen) or each.kept is False for each in outcomes)
        tell_failures(fault, outcomes)
        table.add_row(*cells(fault, outcomes))
    Console(width=120, highlight=False).print(table)
    sys.exit(1 if bad else 0)


def inject(fault: Fault, seed: int) -> Outcome:
    """One fault, once, in a folder of its own; what nobody caught is no answer to it."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            return fault.inject(Path(folder), seed)
        except Exception as error:
            traceback.print_exc()
            return Outcome(fault.healthy, False, detail=repr(error))


def tell_failures(fault: Fault, outcomes: list[Outcome]) -> None:
    """Say on stderr what became of the seeds that went another way than they should."""
    for seed, each in enumerate(outcomes):
        if each.seen == fault.healthy or each.kept is False or each.cause is False:
            print(f"{fault.name}, seed {seed}: {each}", file=sys.stderr)


def cells(fault: Fault, outcomes: list[Outcome]) -> list[str]:
    """The row of a fault."""
    count = len(outcomes)
    seen = sum(each.seen for each in outcomes)
    kept = [each.kept for each in outcomes if each.kept is not None]
    causes = [each.cause for each in outcomes if each.cause is not None]
    delays = [each.delay for each in outcomes if each.delay is not None]
    return [
        str(fault.number or "-"),
        f"{fault.name} (control)" if fault.healthy else fault.name,
        f"{seen} false of {count}" if fault.healthy else f"{seen}/{count}",
        f"{sum(kept)}/{len(kept)}" if kept else "-",
        f"{sum(causes)}/{len(causes)}" if causes else "-",
        f"{median(delays):g}" if delays else "-",
        f"{median(each.lost_steps for each in outcomes):g}",
    ]


if __name__ == "__main__":
    main()
