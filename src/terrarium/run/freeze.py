"""Stopping a live run from outside, and pinning its fallback. Nothing is killed: the run is asked to stop."""

from __future__ import annotations

import time
from pathlib import Path

from terrarium.errors import RunError
from terrarium.run import disk
from terrarium.run.folder import RunFolder
from terrarium.run.lock import is_held
from terrarium.run.retention import pin
from terrarium.run.survey import newest_valid

STOP = ".stop"
POLL_SECONDS = 0.2


def ask_to_stop(run_path: Path) -> None:
    """Ask the process that trains this run, on whatever machine, to finish its step, save and exit.

    Raises:
        RunError: the folder can't be written.
    """
    try:
        disk.write_atomically(run_path / STOP, disk.dump_json({"asked": disk.now()}))
    except OSError as error:
        raise RunError(
            f"{run_path / STOP} can't be written: {disk.why(error)}", "Check who may write to the folder"
        ) from error


def is_asked_to_stop(run_path: Path) -> bool:
    """Whether the run was asked to stop; cheap enough to be checked at every step."""
    return (run_path / STOP).exists()


def forget_stop(run_path: Path) -> None:
    """Withdraw a request to stop: it was meant for the process that ran when it was made.

    Raises:
        RunError: the folder can't be written.
    """
    try:
        (run_path / STOP).unlink(missing_ok=True)
    except OSError as error:
        raise RunError(
            f"{run_path / STOP} can't be removed: {disk.why(error)}", "Check who may write to the folder"
        ) from error


def freeze(run: RunFolder, timeout: float) -> dict[str, Path | None]:
    """Pin the newest whole checkpoint of each stage, and stop the run if something still trains it.

    Pinned first, in case it does not leave; and again when it has left, for it saves before it does.

    Args:
        run: alive or not.
        timeout: seconds to wait for it to leave.

    Returns:
        stage name -> its fallback, None where it has none.

    Raises:
        RunError: it did not leave in time, or the folder can't be written.
    """
    fallbacks = _pin_newest(run)
    if is_held(run.path):
        ask_to_stop(run.path)
        _wait_until_free(run.path, timeout)
        fallbacks = _pin_newest(run)
    return fallbacks


def _pin_newest(run: RunFolder) -> dict[str, Path | None]:
    fallbacks: dict[str, Path | None] = {}
    for stage in run.stages():
        newest, _ = newest_valid(stage)
        fallbacks[stage.name] = newest
        if newest is not None:
            pin(stage, newest.name, "frozen")
    return fallbacks


def _wait_until_free(run_path: Path, timeout: float) -> None:
    end = time.monotonic() + timeout
    while is_held(run_path):
        if time.monotonic() > end:
            raise RunError(
                f"{run_path} was asked to stop and is still being trained after {timeout:.0f} s",
                "The fallback is pinned. Look at the process that holds the lock",
            )
        time.sleep(POLL_SECONDS)
    forget_stop(run_path)
