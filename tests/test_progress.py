from __future__ import annotations

import io
import os
import time
from contextlib import suppress
from pathlib import Path

import pytest
from rich.console import Console

from terrarium.progress import LINE_SECONDS, ConsoleProgress, PatientConsole


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


def make(terminal: bool = False) -> tuple[ConsoleProgress, io.StringIO]:
    out = io.StringIO()
    return ConsoleProgress(Console(file=out, force_terminal=terminal, highlight=False, width=120)), out


def row(step: int, loss: float | None = 0.5) -> dict[str, float | int | str | None]:
    return {"step": step, "loss": loss, "frames_per_second": 321.0}


def test_a_line_now_and_then_where_there_is_no_terminal(clock: Clock) -> None:
    progress, out = make()
    with progress:
        for step in range(40):
            progress.step("dynamics", row(step), 100)
            clock.now += 1
    lines = out.getvalue().splitlines()
    assert len(lines) == 40 // LINE_SECONDS
    assert lines[0] == "dynamics  1/100  loss 0.5  321 frames/s"
    assert lines[1] == "dynamics  11/100  loss 0.5  321 frames/s  1:29 left"


def test_the_last_step_and_every_new_thing_have_a_line(clock: Clock) -> None:
    progress, out = make()
    with progress:
        for name in ("video_tokenizer", "dynamics"):
            for step in range(3):
                progress.step(name, row(step), 3)
    names = [line.split("  ")[:2] for line in out.getvalue().splitlines()]
    assert names == [[name, n] for name in ("video_tokenizer", "dynamics") for n in ("1/3", "3/3")]


def test_one_slow_step_is_no_trend(clock: Clock) -> None:
    progress, out = make()
    with progress:
        for done in range(1, 32):
            progress.update("dynamics", done, 3631)
            clock.now += 600 if done == 20 else 1
    assert out.getvalue().splitlines()[-1] == "dynamics  31/3631  1:00:00 left"


def test_the_remaining_time_is_a_band_as_wide_as_recent_steps_vary(clock: Clock) -> None:
    progress, out = make()
    with progress:
        for done in range(1, 202):
            clock.now += 1 if done < 142 else 2
            progress.update("dynamics", done, 801)
            if done == 141:
                progress.say("slower from here")
    lines = out.getvalue().splitlines()
    before = lines[lines.index("slower from here") - 1]
    assert before == "dynamics  141/801  11:00 left"
    assert lines[-1] == "dynamics  201/801  10:00 to 20:00 left"


def test_a_pace_that_is_over_is_forgotten(clock: Clock) -> None:
    progress, out = make()
    with progress:
        for done in range(1, 302):
            clock.now += 5 if done < 150 else 2
            progress.update("dynamics", done, 361)
    assert out.getvalue().splitlines()[-1] == "dynamics  299/361  2:04 left"


def test_there_is_no_estimate_from_too_few_steps(clock: Clock) -> None:
    progress, out = make()
    with progress:
        for done in (1, 2, 3):
            clock.now += 60
            progress.update("dynamics", done, 100)
    assert "left" not in out.getvalue()
    assert len(out.getvalue().splitlines()) == 3


def test_a_loss_that_is_no_number_is_left_out(clock: Clock) -> None:
    progress, out = make()
    progress.step("dynamics", row(0, None), 3)
    assert out.getvalue() == "dynamics  1/3\n"


def test_on_a_terminal_one_line_moves(clock: Clock) -> None:
    progress, out = make(terminal=True)
    with progress:
        for step in range(20):
            progress.step("dynamics", row(step), 20)
            clock.now += 1
        progress.say("something [bold]worth[/bold] a line")
    text = out.getvalue()
    assert "20/20" in text
    assert "something [bold]worth[/bold] a line" in text
    assert text.count("dynamics  1/20") == 0


def test_the_terminal_is_left_as_it_was_found() -> None:
    progress, out = make(terminal=True)
    with pytest.raises(KeyboardInterrupt), progress:
        progress.step("dynamics", row(0), 3)
        raise KeyboardInterrupt
    hidden, shown = "\x1b[?25l", "\x1b[?25h"
    assert out.getvalue().count(hidden) == out.getvalue().count(shown) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a disk that is always full")
def test_training_goes_on_where_nobody_can_read_of_it() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    for file in (os.fdopen(writer, "w", buffering=1), Path("/dev/full").open("w", buffering=1)):  # noqa: SIM115 - closed below
        with ConsoleProgress(PatientConsole(file=file)) as progress:
            for step in range(3):
                progress.say(f"step {step}")
                progress.update("dynamics", step + 1, 3)
        with suppress(OSError):  # it still holds what nobody took
            file.close()
