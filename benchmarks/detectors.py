"""How well the doctor tells ill runs from healthy ones: one command, tables in Markdown.

    python benchmarks/detectors.py [--half tune|report] [--seeds 10] [--exam | --kind KIND...] [--json]

The runs are generated (`tests/patients/runs`), written to files, and examined as `terrarium diagnose` does.
Even seeds are the tuning half, odd ones the reporting half: cases of the latter are never shown one by one.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean, median

import click
from rich.progress import track

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from patients.runs.exam import EXAM_FAULTY, EXAM_HEALTHY, exams
from patients.runs.files import write
from patients.runs.kinds import FAULTY_KINDS, HEALTHY_KINDS, KINDS, draw
from patients.runs.scoring import Marks, score
from patients.runs.sketches import SKETCHED_FAULTS, SKETCHED_HEALTH, SKETCHES

Row = Sequence[object]
EXAMS = (("laws", EXAM_FAULTY, EXAM_HEALTHY), ("sketches", SKETCHED_FAULTS, SKETCHED_HEALTH))


def examined(kinds: Iterable[str], half: str, seeds: int, prefixes: bool) -> list[Marks]:
    """Marks of some kinds on the first seeds of a half."""
    cases = [(kind, 2 * index + (half == "report")) for kind in kinds for index in range(seeds)]
    marks = []
    for kind, seed in track(cases, "examining", transient=True, disable=not sys.stderr.isatty()):
        with tempfile.TemporaryDirectory() as folder:
            marks.append(score(draw(kind, seed), Path(folder), prefixes))
    return marks


def is_failure(mark: Marks) -> bool:
    """Whether something about a case should be better."""
    return bool(mark.wrong or mark.early) or not (
        mark.case.truth.healthy or (mark.typed and mark.lead and mark.onset)
    )


def keep(marks: Iterable[Marks], folder: Path) -> None:
    """Write the files of failed cases to a folder, one folder each."""
    for mark in filter(is_failure, marks):
        place = folder / mark.case.name
        place.mkdir(parents=True, exist_ok=True)
        write(mark.case, place)


def failure_rows(marks: Iterable[Marks]) -> list[Row]:
    """One row for each failed case."""
    return [
        (
            mark.case.name,
            f"{mark.case.rows:,} rows, {mark.case.noise}, {mark.case.style}",
            f"{mark.case.truth.main or 'healthy'} {sorted(set(mark.case.truth.onsets[::20]))}",
            " ".join(
                [
                    *(() if mark.typed or mark.case.truth.healthy else ("missed",)),
                    *(("lead",) if mark.typed and not mark.lead else ()),
                    *(("onset",) if mark.typed and not mark.onset else ()),
                ]
            ),
            mark.first,
            " ".join(mark.alarms),
            " ".join(mark.early),
        )
        for mark in marks
        if is_failure(mark)
    ]


def share(values: Iterable[bool]) -> float:
    """Share of what is true; 0 of nothing."""
    held = list(values)
    return fmean(held) if held else 0.0


def exam_rows(results: Sequence[dict[str, int]], healthy: int) -> list[Row]:
    """Mean and worst of each figure, with its target."""
    targets = {
        "typed": (20, ">= 18", min),
        "lead": (20, ">= 15", min),
        "onset": (20, ">= 15", min),
        "false alarms": (healthy, "<= 1", max),
        "critical": (healthy, "0", max),
    }
    rows: list[Row] = []
    for figure, (of, target, worst) in targets.items():
        values = [result[figure] for result in results]
        rows.append((figure, f"{fmean(values):.1f} of {of}", f"{worst(values)} of {of}", target))
    return rows


def fault_rows(marks: Sequence[Marks]) -> list[Row]:
    """One row for each kind of fault."""
    rows: list[Row] = []
    for kind in (*FAULTY_KINDS, *SKETCHED_FAULTS):
        ill = [mark for mark in marks if mark.case.kind == kind]
        if not ill:
            continue
        late = [mark.delay / mark.case.length for mark in ill if mark.delay == mark.delay]
        steps = [mark.delay for mark in ill if mark.delay == mark.delay]
        rows.append(
            (
                kind,
                f"{sum(mark.typed for mark in ill)}/{len(ill)}",
                f"{sum(mark.lead for mark in ill)}/{len(ill)}",
                f"{sum(mark.onset for mark in ill)}/{len(ill)}",
                f"{median(steps):,.0f} ({median(late):.0%})" if late else "-",
                f"{sum(bool(mark.early) for mark in ill)}/{len(ill)}",
                " ".join(sorted({code for mark in ill for code in mark.wrong})) or "-",
            )
        )
    return rows


def health_rows(marks: Sequence[Marks]) -> list[Row]:
    """One row for each healthy kind."""
    rows: list[Row] = []
    for kind in (*HEALTHY_KINDS, *SKETCHED_HEALTH):
        well = [mark for mark in marks if mark.case.kind == kind]
        if well:
            rows.append(
                (
                    kind,
                    f"{sum(bool(mark.alarms) for mark in well)}/{len(well)}",
                    f"{sum(bool(mark.critical) for mark in well)}/{len(well)}",
                    f"{sum(bool(mark.early) for mark in well)}/{len(well)}",
                    " ".join(sorted({code for mark in well for code in mark.alarms})) or "-",
                )
            )
    return rows


def detector_rows(marks: Sequence[Marks]) -> list[Row]:
    """One row for each code: the share of its faults it finds, how often it is right, its false alarms."""
    healthy_steps = sum(mark.case.length for mark in marks if mark.case.truth.healthy)
    codes = {code for mark in marks for code in (*mark.alarms, *mark.case.truth.codes)}
    rows: list[Row] = []
    for code in sorted(codes):
        own = [mark for mark in marks if code == mark.case.truth.main]
        said = [mark for mark in marks if code in mark.alarms]
        wolf = [mark for mark in said if mark.case.truth.healthy]
        rows.append(
            (
                code,
                f"{share(_is_told(code, mark) for mark in own):.2f}" if own else "-",
                f"{share(code not in mark.wrong for mark in said):.2f}" if said else "-",
                f"{len(said)}",
                f"{len(wolf)}",
                f"{len(wolf) / max(1, healthy_steps) * 10_000:.4f}",
            )
        )
    return rows


def _is_told(code: str, mark: Marks) -> bool:
    """Whether a fault's own code was said; as information, where that will do."""
    return code in mark.alarms or (mark.typed and not mark.case.truth.severe)


def table(title: str, heads: str, rows: Iterable[Row]) -> str:
    """A Markdown table; heads are parted by commas."""
    names = heads.split(",")
    lines = [f"| {' | '.join(names)} |", f"|{' --- |' * len(names)}"]
    lines += [f"| {' | '.join(map(str, row))} |" for row in rows]
    return f"\n### {title}\n\n" + "\n".join(lines)


def as_text(marks: Sequence[Marks]) -> str:
    """All tables, the summary first."""
    ill = [mark for mark in marks if not mark.case.truth.healthy]
    well = [mark for mark in marks if mark.case.truth.healthy]
    parts = [
        f"{len(ill)} faulty runs of {len({m.case.kind for m in ill})} kinds, {len(well)} healthy ones of "
        f"{len({m.case.kind for m in well})}: typed {share(m.typed for m in ill):.1%}, "
        f"lead {share(m.lead for m in ill):.1%}, onset {share(m.onset for m in ill):.1%}, "
        f"false alarms {share(bool(m.alarms) for m in well):.1%}, "
        f"critical {share(bool(m.critical) for m in well):.1%}; "
        f"{median(mark.seconds for mark in marks) * 1000:.0f} ms a run."
    ]
    for name, faulty, healthy in EXAMS:
        if {mark.case.kind for mark in marks} >= {*faulty, *healthy}:
            title = f"Exams of {len(faulty)} faults and {len(healthy)} healthy runs, {name}"
            rows = exam_rows(exams(marks, faulty, healthy), len(healthy))
            parts.append(table(title, "figure,mean,worst,target", rows))
    parts += [
        table(
            "Faults", "kind,typed,lead,onset,delay in steps,told early,also said wrongly", fault_rows(marks)
        ),
        table("Healthy", "kind,false alarms,critical,on a prefix,what was said", health_rows(marks)),
        table(
            "Detectors", "code,recall,precision,said,on healthy,per 10k healthy steps", detector_rows(marks)
        ),
    ]
    return "\n".join(parts)


def as_json(marks: Sequence[Marks]) -> str:
    """The tables' figures, without cases."""
    tables = {"faults": fault_rows, "healthy": health_rows, "detectors": detector_rows}
    return json.dumps(
        {f"exams, {name}": exams(marks, *kinds) for name, *kinds in EXAMS}
        | {name: rows(marks) for name, rows in tables.items()},
        indent=1,
    )


@click.command()
@click.option("--half", type=click.Choice(["tune", "report"]), default="report", help="Even or odd seeds.")
@click.option("--seeds", type=click.IntRange(min=1), default=10, help="Runs of each kind.")
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice([*KINDS, *SKETCHES]),
    help="Only these; can be repeated.",
)
@click.option("--exam", is_flag=True, help="Only the kinds of the exam.")
@click.option("--delay/--no-delay", default=True, help="Examine growing prefixes too.")
@click.option(
    "--keep", "kept", type=click.Path(path_type=Path), help="Folder for failed cases; tuning half only."
)
@click.option("--json", "json_wanted", is_flag=True, help="Print JSON.")
def main(
    half: str,
    seeds: int,
    kinds: tuple[str, ...],
    exam: bool,
    delay: bool,
    kept: Path | None,
    json_wanted: bool,
) -> None:
    """Score the doctor on generated runs."""
    if kept is not None and half != "tune":
        raise click.UsageError("only cases of the tuning half may be looked at: --half tune")
    asked = kinds or ((*EXAM_FAULTY, *EXAM_HEALTHY, *SKETCHES) if exam else (*KINDS, *SKETCHES))
    marks = examined(asked, half, seeds, delay)
    click.echo(as_json(marks) if json_wanted else as_text(marks))
    if kept is not None:
        keep(marks, kept)
        heads = "case,what it is,truth and onset,fault,said first,alarms,said too early"
        click.echo(table("Failures", heads, failure_rows(marks)))


if __name__ == "__main__":
    main()
