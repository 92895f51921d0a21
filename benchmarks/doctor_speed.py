"""How fast the doctor is: one command, tables in Markdown.

    python benchmarks/doctor_speed.py [--rows 1000000] [--repeat 3]

Everything runs in processes of its own, as a user starts them; the best of some repetitions counts, since a
busy machine only ever adds time. The run is the seed's (`tests/patients/zelda.py`), its histories drawn out
to 50,000 rows each, with 26 checkpoints and 10 pictures.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from patients import logs, zelda

Row = Sequence[object]

ROWS_PER_STAGE = 50_000
RUN_SECONDS, IMPORT_SECONDS = 3.0, 0.3
READ_SECONDS, READ_MEGABYTES = 10.0, 500.0
VERDICTS = (0, 10, 11, 12)

IMPORT = """
import sys, time
begun = time.perf_counter()
import terrarium.doctor
print(time.perf_counter() - begun)
assert "torch" not in sys.modules
"""
READ = """
import re, sys, time
from pathlib import Path
from terrarium.doctor.readers.histories import read
begun = time.perf_counter()
(file,) = read(Path(sys.argv[1])).values()
seconds = time.perf_counter() - begun
most = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())  # of this program alone
print(file.history.rows, seconds, int(most[1]) / 1024)
assert "torch" not in sys.modules
"""


def build(folder: Path) -> Path:
    """The seed's run with longer histories, and nothing but what its trainer wrote."""
    zelda.build(folder, copies=())
    (folder / "Logs").mkdir()
    for stage, history in zelda.histories().items():
        rows = [{**history[step % len(history)], "_step": step} for step in range(ROWS_PER_STAGE)]
        for step, row in enumerate(rows):
            row["_runtime"] = 2.5 * step
        name = f"{stage}_history_{zelda.RUN_IDS[stage]}_latest"
        logs.write_csv(folder / "Logs" / f"{name}.csv", rows)
        logs.write_json(folder / "Logs" / f"{name}.json", rows)
    return folder


def whole_run(folder: Path, repeat: int) -> Iterable[Row]:
    """`terrarium diagnose --json` on the run, from the start of the process to its end."""
    run = build(folder / "run")
    parts = list(run.rglob("*"))
    checkpoints = sum(path.parent.name == "checkpoints" for path in parts)
    pictures = sum(path.suffix == ".png" for path in parts)
    command = [sys.executable, "-m", "terrarium", "diagnose", "--json", str(run)]
    seconds = min(_timed(command) for _ in range(repeat))
    what = f"3 x {ROWS_PER_STAGE:,} rows as CSV and JSON, {checkpoints} checkpoints, {pictures} pictures"
    name = f"`terrarium diagnose --json`: {what}"
    yield name, f"{seconds:.2f} s", f"{RUN_SECONDS} s", _mark(seconds, RUN_SECONDS)


def importing(repeat: int) -> Iterable[Row]:
    """`import terrarium.doctor` in a fresh interpreter; fails where it brings torch."""
    seconds = min(float(_output([sys.executable, "-c", IMPORT])) for _ in range(repeat))
    reached = _mark(seconds, IMPORT_SECONDS)
    yield "`import terrarium.doctor`", f"{seconds:.2f} s", f"{IMPORT_SECONDS} s", reached


def long_histories(folder: Path, rows: int, repeat: int) -> Iterable[Row]:
    """One long history in each format: time to read it, and the most memory that the process took."""
    history = logs.rows_of(rows)
    for name, (file, write) in logs.WRITERS.items():
        path = folder / file
        write(path, history)
        told = [_output([sys.executable, "-c", READ, str(path)]).split() for _ in range(repeat)]
        if int(told[0][0]) != rows:
            raise click.ClickException(f"{name}: {told[0][0]} of {rows} rows were read")
        seconds, size = min(float(one[1]) for one in told), max(float(one[2]) for one in told)
        megabytes = path.stat().st_size / 2**20
        good = _mark(seconds, READ_SECONDS) and _mark(size, READ_MEGABYTES)
        yield f"{name}, {megabytes:.0f} MiB", f"{seconds:.1f} s", f"{size:.0f} MiB", good
        path.unlink()


def _mark(value: float, most: float) -> str:
    return "yes" if value < most else ""


def _timed(command: Sequence[str]) -> float:
    begun = time.perf_counter()
    done = subprocess.run(command, capture_output=True, env=_environment(), check=False)
    seconds = time.perf_counter() - begun
    if done.returncode not in VERDICTS:
        raise click.ClickException(done.stderr.decode()[-2000:])
    json.loads(done.stdout)
    return seconds


def _output(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, env=_environment(), check=False, text=True)
    if done.returncode:
        raise click.ClickException(done.stderr[-2000:])
    return done.stdout


def _environment() -> dict[str, str]:
    """With compiled modules kept from one repetition to the next, as wherever it is installed."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    cache = str(Path(tempfile.gettempdir()) / "terrarium-doctor-speed")
    return kept | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONPYCACHEPREFIX": cache}


def table(head: Row, rows: Iterable[Row]) -> None:
    """Print a table in Markdown."""
    click.echo(f"\n| {' | '.join(map(str, head))} |\n|{'---|' * len(head)}")
    for row in rows:
        click.echo(f"| {' | '.join(map(str, row))} |")


@click.command()
@click.option("--rows", default=1_000_000, show_default=True, help="Length of each long history.")
@click.option("--repeat", default=3, show_default=True, help="Repetitions; the best one counts.")
def main(rows: int, repeat: int) -> None:
    """How fast the doctor is, and how much memory long histories take."""
    with tempfile.TemporaryDirectory() as folder:
        table(("what", "best", "target", "reached"), [*whole_run(Path(folder), repeat), *importing(repeat)])
        bounds = f"< {READ_SECONDS:.0f} s and < {READ_MEGABYTES:.0f} MiB"
        head = (f"{rows:,} rows", "read in", "most memory", bounds)
        table(head, long_histories(Path(folder), rows, repeat))


if __name__ == "__main__":
    main()
