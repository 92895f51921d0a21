"""Verbs for a world that is trained: `evaluate`, `play` and `export`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from terrarium.cli.group import FOLDER, main
from terrarium.cli.runs import open_run

if TYPE_CHECKING:
    from terrarium.run.folder import RunFolder

PORT = 8400


@main.command()
@click.argument("run", type=FOLDER)
@click.option("--json", "as_json", is_flag=True, help="Print the scores as one JSON object.")
def evaluate(run: Path, as_json: bool) -> None:
    """Score a run on the footage that was held out."""
    from terrarium.finished import score
    from terrarium.progress import ConsoleProgress

    with ConsoleProgress() as progress:
        folder = open_run(run)
        scores = score(folder, progress)
    if as_json:
        click.echo(json.dumps(scores, allow_nan=False))
    else:
        click.echo((folder.path / "report.md").read_text(encoding="utf-8"))


@main.command()
@click.argument("run", type=FOLDER)
@click.option("--host", default="127.0.0.1", show_default=True, help="Other than loopback: at your own risk.")
@click.option("--port", default=PORT, show_default=True, type=click.IntRange(0, 65535))
def play(run: Path, host: str, port: int) -> None:
    """Serve the world of a run to a browser."""
    serve(open_run(run), host, port)


@main.command()
@click.argument("run", type=FOLDER)
@click.option("--out", type=FOLDER, default=Path("Logs"), show_default=True)
def export(run: Path, out: Path) -> None:
    """Write the histories under the file and column names of W&B exports, for existing scripts."""
    from terrarium.run.export import export_histories

    for path in export_histories(open_run(run), out):
        click.echo(path)


def serve(run: RunFolder, host: str, port: int) -> None:
    from terrarium.finished import serve_world

    serve_world(run, host, port, announce=lambda url: click.echo(f"play at {url} (Ctrl-C ends)"))
