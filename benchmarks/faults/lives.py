"""Whole trainings in processes of their own that are killed, asked to leave, hung, blocked or started twice.

Whatever became of one, it is started again, and must end as the one that nobody disturbed: history, weights,
average and optimizer, bit for bit.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from faults.fault import Fault, Outcome, dice_of
from faults.processes import STAGE, finish, rows, stage_of, started, training, wait_until
from terrarium import pipeline
from terrarium.doctor.examine import examine
from terrarium.doctor.finding import Severity
from terrarium.doctor.readers.run_folder import read_run
from terrarium.run.survey import list_checkpoints
from terrarium.run.verify import judge
from tiny_training import Told, tensor_bytes, timeless
from tiny_world import store_footage, tiny_config

STEPS = 40
SETTINGS = (
    f"steps={STEPS}",
    "warmup_steps=10",
    "checkpoint_every=10",
    "gate_every=10",
    "picture_every=1000",
    "stall_seconds=0.5",
)
LONGEST = 20.0  # seconds in which whoever was asked must have left
STALL = 15.0  # seconds after which a stall must have been told: those steps take a hundredth of one


@functools.cache
def scratch() -> tempfile.TemporaryDirectory[str]:
    """Lives as long as this process."""
    return tempfile.TemporaryDirectory()


@functools.cache
def footage() -> Path:
    """The same for all."""
    return store_footage(Path(scratch().name) / "footage", (32, 32)).path


@functools.cache
def undisturbed(seed: int) -> Path:
    """A run of a seed that nobody disturbed."""
    run = Path(scratch().name) / f"undisturbed-{seed}"
    with mock.patch.object(pipeline, "STAGES", (STAGE,)):
        options = [f"seed={seed}", *(f"{STAGE}.{each}" for each in SETTINGS)]
        pipeline.train(run, footage(), tiny_config(*options), Told())
    return run


def words_of(run: Path, seed: int, *settings: str, spoil: str = "") -> list[str]:
    """The words that begin a run, or go on with it."""
    return training(run, footage(), seed, *SETTINGS, *settings, spoil=spoil)


def goes_on(run: Path, seed: int) -> bool:
    """Whether it ends, started again with nothing spoilt, as if nothing had been; here, for speed."""
    with mock.patch.object(pipeline, "STAGES", (STAGE,)):
        pipeline.train(run, None, None, Told())
    return is_undisturbed(run, seed)


def is_undisturbed(run: Path, seed: int) -> bool:
    """Whether it became what the undisturbed one is."""
    return became(run, undisturbed(seed))


def became(run: Path, reference: Path) -> bool:
    """Whether a run has the history and the last checkpoint of another one, bit for bit."""
    mine, other = stage_of(run), stage_of(reference)
    last = f"{STAGE}_step_{STEPS}/"
    one, two = (
        {name: blob for name, blob in tensor_bytes(stage).items() if name.startswith(last)}
        for stage in (mine, other)
    )
    return timeless(mine) == timeless(other) and bool(one) and one == two


def saved_steps(run: Path) -> list[int]:
    """The steps of the whole checkpoints of a run."""
    whole = [path for path in list_checkpoints(stage_of(run)) if judge(path).whole]
    return [int(path.name.rsplit("_", 1)[1]) for path in whole]


def killed(folder: Path, seed: int) -> Outcome:
    """SIGKILL at a random moment: only steps since the last checkpoint are taken anew."""
    dice, run = dice_of(seed), folder / "run"
    wanted, longer = dice.randrange(1, STEPS - 2), dice.uniform(0, 0.03)
    with started(words_of(run, seed, spoil="slow-steps:0.02"), folder / "said") as process:
        wait_until(lambda: rows(run) >= wanted, process)
        time.sleep(longer)
        process.kill()
        died = process.wait() == -signal.SIGKILL
    reached = rows(run)
    saved = max(saved_steps(run), default=0)
    again = goes_on(run, seed)
    # a save may still have been under way: then the one before it counts
    return Outcome(died and saved >= reached - reached % 10 - 10, again, lost_steps=reached - saved)


def asked(number: signal.Signals) -> Callable[[Path, int], Outcome]:
    """Asked to leave at a random moment: it finishes the step, saves, leaves with 0, and goes on later."""

    def inject(folder: Path, seed: int) -> Outcome:
        dice, run, said = dice_of(seed), folder / "run", folder / "said"
        wanted, longer = dice.randrange(1, STEPS - 4), dice.uniform(0, 0.03)
        with started(words_of(run, seed, spoil="slow-steps:0.03"), said) as process:
            wait_until(lambda: rows(run) >= wanted, process)
            time.sleep(longer)
            process.send_signal(number)
            code = process.wait(LONGEST)
        reached = rows(run)
        seen = code == 0 and number.name in said.read_text() and "saved" in said.read_text()
        lost = reached - max(saved_steps(run), default=0)
        return Outcome(
            seen, lost == 0 and goes_on(run, seed), lost_steps=lost, detail=said.read_text()[-300:]
        )

    return inject


def interrupted_twice(folder: Path, seed: int) -> Outcome:
    """Ctrl-C, and again while it saves: it leaves, no half checkpoint is to be seen, none is lost."""
    dice, run, said = dice_of(seed), folder / "run", folder / "said"
    wanted, longer = dice.randrange(11, STEPS - 4), dice.uniform(0.05, 0.5)
    words = words_of(run, seed, spoil="slow-steps:0.03,slow-disk:0.1")
    with started(words, said) as process:
        wait_until(lambda: rows(run) >= wanted, process)
        process.send_signal(signal.SIGINT)
        time.sleep(longer)
        process.send_signal(signal.SIGINT)
        code = process.wait(LONGEST)
    visible = [path for path in list_checkpoints(stage_of(run)) if not judge(path).whole]
    lost = rows(run) - max(saved_steps(run), default=0)
    kept = not visible and goes_on(run, seed)
    return Outcome(code != 0, kept, lost_steps=lost, detail=said.read_text()[-300:])


def stands_still(spoil: str, named: str, gently: bool) -> Callable[[Path, int], Outcome]:
    """Training stands still in one place: told in time, with the stack that names it; nothing is lost.

    Args:
        spoil: what makes it stand still at a step.
        named: the function in which it does, as it must stand in the stacks.
        gently: whether it must still leave when it is asked, having saved every step.
    """

    def inject(folder: Path, seed: int) -> Outcome:
        dice, run, said = dice_of(seed), folder / "run", folder / "said"
        step = dice.randrange(8, STEPS - 3)
        stacks = run / STAGE / "stalls.txt"
        with started(words_of(run, seed, spoil=f"{spoil}:{step}"), said) as process:
            wait_until(lambda: rows(run) == step, process)
            since = time.monotonic()
            told = wait_until(lambda: stacks.exists() and f"in {named}" in stacks.read_text(), process)
            seconds = time.monotonic() - since
            process.terminate()
            left = _has_left(process) if gently else True
        told = told and "no step for" in said.read_text() and seconds < STALL
        lost = rows(run) - max(saved_steps(run), default=0)
        kept = left and (lost == 0 or not gently) and goes_on(run, seed)
        return Outcome(
            told, kept, lost_steps=lost, detail=f"told after {seconds:.1f} s; {said.read_text()[-200:]}"
        )

    return inject


def _has_left(process: subprocess.Popen[bytes]) -> bool:
    try:
        return process.wait(LONGEST) == 0
    except subprocess.TimeoutExpired:
        return False


def stopped_from_outside(folder: Path, seed: int) -> Outcome:
    """The process is stopped (SIGSTOP), so that nothing within can tell: the doctor does, from outside."""
    dice, run = dice_of(seed), folder / "run"
    wanted, minutes = dice.randrange(33, STEPS - 2), dice.uniform(5, 500)
    with started(words_of(run, seed, spoil="slow-steps:0.05"), folder / "said") as process:
        wait_until(lambda: rows(run) >= wanted, process)
        process.send_signal(signal.SIGSTOP)
        history, now = stage_of(run).history_path, time.time()
        os.utime(history, (now, now - 60 * minutes))  # nobody waits here for so long
        found = examine(read_run(run)).findings
        process.send_signal(signal.SIGCONT)
        process.wait(LONGEST)
    told = [each for each in found if each.code == "run-stalled" and each.severity is Severity.CRITICAL]
    kept = process.returncode == 0 and is_undisturbed(run, seed)
    return Outcome(bool(told), kept, detail=str([each.code for each in found]))


def two_launchers(folder: Path, seed: int) -> Outcome:
    """A second launcher on a run: refused by process and host; the first goes on as if it were alone."""
    dice, run, said = dice_of(seed), folder / "run", folder / "said"
    wanted = dice.randrange(1, STEPS // 2)
    with started(words_of(run, seed, spoil="slow-steps:0.02"), said) as process:
        wait_until(lambda: rows(run) >= wanted, process)
        process.send_signal(signal.SIGSTOP)  # so that it is there for as long as the second one takes
        second = finish(words_of(run, seed))
        alone = process.poll() is None
        process.send_signal(signal.SIGCONT)
        process.wait(LONGEST)
    named = f"process {process.pid} on " in second.said
    return Outcome(
        second.code != 0 and named and alone,
        process.returncode == 0 and is_undisturbed(run, seed),
        detail=second.said,
    )


def always_fails(folder: Path, seed: int) -> Outcome:
    """No batch is finite from some step on: the retries run out, the report is written, the exit is not 0."""
    dice, run = dice_of(seed), folder / "run"
    step = dice.randrange(2, STEPS - 5)
    ended = finish(words_of(run, seed, spoil=f"poison:{step}"))
    gates = [json.loads(line) for line in (run / STAGE / "gates.jsonl").read_text().splitlines()]
    tried = [each["what"] for each in gates if each["what"] != "continue"]
    best = max(saved_steps(run), default=0)
    named = "best known checkpoint is" in ended.said and f"{STAGE}_step_" in ended.said
    report = json.loads((run / "report.json").read_text())
    written = all((run / f"report.{kind}").exists() for kind in ("md", "html", "json"))
    seen = ended.code != 0 and tried[-1:] == ["stop"] and len(tried) == 4 and named
    return Outcome(seen, written and bool(report) and 0 < best <= step, detail=f"{tried} {ended.said[-300:]}")


FAULTS = (
    Fault(3, "training killed", killed),
    Fault(5, "SIGTERM in training", asked(signal.SIGTERM)),
    Fault(6, "SIGINT in training", asked(signal.SIGINT)),
    Fault(6, "SIGINT twice", interrupted_twice),
    Fault(38, "loader hangs, live", stands_still("hang", "hanging", gently=True)),
    Fault(39, "step stuck, another thread alive", stands_still("block", "blocked", gently=False)),
    Fault(38, "process stopped from outside", stopped_from_outside),
    Fault(44, "two launchers", two_launchers),
    Fault(48, "retries exhausted", always_fails),
)
