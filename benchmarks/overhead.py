"""What safety costs in a run that was trained: shares of its time, from its own accounts.

    python benchmarks/overhead.py RUN

Saving is the time for which training stood still and the CPU time of the thread that writes; watching is the
guard in every step (on a GPU with the wait for the step's arithmetic, which is more than it costs), the
history and the gates. Exits with 1 where a share is above its target.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich import box
from rich.console import Console
from rich.table import Table

from terrarium.errors import TerrariumError
from terrarium.run.folder import RunFolder, StageFolder, read_json

SAVING, WATCHING = 0.01, 0.02


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
def main(run: Path) -> None:
    """Print the shares of each stage, and of the run."""
    try:
        accounts = {stage.name: seconds_of(stage) for stage in RunFolder.open(run).stages()}
    except TerrariumError as error:
        raise click.ClickException(str(error)) from error
    names = {name for seconds in accounts.values() for name in seconds}
    accounts["all stages"] = {name: sum(each.get(name, 0.0) for each in accounts.values()) for name in names}
    table = Table("stage", "seconds", "saving", "guard, history, gates", "pictures", box=box.MARKDOWN)
    for name, seconds in accounts.items():
        saving, watching, pictures = shares(seconds)
        cells = f"{saving:.2%}", f"{watching:.2%}", f"{pictures:.2%}"
        table.add_row(name, f"{seconds.get('steps', 0.0):.0f}", *cells)
    table.add_row("target", "", f"{SAVING:.0%}", f"{WATCHING:.0%}", "")
    Console(width=100, highlight=False).print(table)
    saving, watching, _ = shares(accounts["all stages"])
    sys.exit(1 if saving > SAVING or watching > WATCHING else 0)


def seconds_of(stage: StageFolder) -> dict[str, float]:
    """What the stage wrote down.

    Raises:
        RunError: it wrote nothing.
    """
    tree = read_json(stage.path / "overhead.json")
    seconds = tree.get("seconds") if isinstance(tree, dict) else None
    accounts = seconds.items() if isinstance(seconds, dict) else ()
    return {str(name): float(value) for name, value in accounts}


def shares(seconds: dict[str, float]) -> tuple[float, float, float]:
    """Of saving; of guard, history and gates; and of pictures."""
    whole = max(seconds.get("steps", 0.0), 1e-9)
    saving = seconds.get("saving", 0.0) + seconds.get("writer", 0.0)
    watching = sum(seconds.get(name, 0.0) for name in ("guard", "history", "gates"))
    return saving / whole, watching / whole, seconds.get("pictures", 0.0) / whole


if __name__ == "__main__":
    main()
