"""What verbs that take a run share: opening or beginning it, training it, and the configuration asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from terrarium import launched

if TYPE_CHECKING:
    from terrarium.config import Config
    from terrarium.progress import ConsoleProgress
    from terrarium.run.folder import RunFolder


def asked_config(run: Path | None, preset: str | None, assignments: tuple[str, ...]) -> Config | None:
    """The configuration asked for; None if nothing was, and an existing run is to go on as it is."""
    from terrarium.config import from_tree, override
    from terrarium.presets import preset as named_preset

    if run is not None and (run / "run.json").exists() and preset is None:
        own = from_tree(open_run(run).facts.get("config"), str(run / "run.json"))
        return override(own, assignments) if assignments else None
    return override(named_preset(preset or "quick"), assignments)


@contextmanager
def run_path(asked: Path | None) -> Iterator[Path]:
    """The folder of a run, by default a new one in results/; removed again if no run was begun in it."""
    fresh = asked is None or not asked.exists()
    path = asked or _new_run_path()
    try:
        yield path
    finally:
        if fresh and launched.rank() == 0 and not (path / "run.json").exists():
            _remove_unbegun(path, with_parent=asked is None)


def _new_run_path() -> Path:
    """A new folder in results/. Of several processes the first names it, once for all restarts of the job."""
    from terrarium.run.folder import RESULTS, new_run_path

    results = Path(RESULTS)
    if launched.count() == 1:
        return new_run_path(results)
    if launched.rank() > 0:
        return results  # they are told

    from terrarium.train.rendezvous import remembered

    return Path(remembered("run", lambda: str(new_run_path(results))))


def _remove_unbegun(path: Path, *, with_parent: bool) -> None:
    """Remove a folder that holds nothing but a lock; one with footage or a passed trial stays."""
    from terrarium.run.lock import is_held

    with suppress(OSError):
        if not is_held(path) and {entry.name for entry in path.iterdir()} <= {".lock"}:
            (path / ".lock").unlink(missing_ok=True)
            path.rmdir()
            if with_parent:
                path.parent.rmdir()


def open_run(run: Path) -> RunFolder:
    from terrarium.run.folder import RunFolder

    return RunFolder.open(run)


def train_or_stop(
    run: Path,
    data: Path | None,
    config: Config | None,
    progress: ConsoleProgress,
    verb: str,
    *,
    gates: bool = True,
    heal: bool = True,
    before: Callable[[], None] | None = None,
) -> RunFolder | None:
    """Train; returns the run, or None if it was asked to stop before the end."""
    from terrarium.pipeline import train as train_run
    from terrarium.train.interruption import Interrupted

    try:
        return train_run(run, data, config, progress, gates=gates, heal=heal, before=before)
    except Interrupted as stopped:
        progress.say(f"{stopped}. Resume with: terrarium {verb} --run {run}")
        return None
