"""A short trial before a long run: do this machine, this footage and this configuration train and survive?

Real processes train a few steps of every stage at its real size on a few real frames; one of them is killed.
All of it happens in a temporary folder beside the run, on the disk that the run will use.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

from terrarium import launched
from terrarium.beginning import refuse_footage
from terrarium.config import Config, flat, from_tree
from terrarium.data.dataset import Dataset, Episode
from terrarium.data.writer import DatasetWriter
from terrarium.errors import HealthError, RunError
from terrarium.progress import ConsoleProgress
from terrarium.run.folder import STAGES, RunFolder, read_json, refuse_occupied, write_json
from terrarium.run.lock import RunLock, is_held
from terrarium.run.rows import read_history
from terrarium.run.sameness import differences
from terrarium.run.survey import judge_path

NAME = "smoke.json"
PREFIX = ".smoke-"
STEPS = 24  # of each stage: a checkpoint in the middle, and one at the end
FRAMES = 600
LONG_RUN = 1000  # steps of all stages together: a shorter run is its own trial
WATCHED_EVERY = 0.05  # seconds


@dataclass(frozen=True)
class Check:
    """One thing that was tried.

    Attributes:
        name: what was tried.
        passed: whether it worked.
        detail: the numbers, or what went wrong.
    """

    name: str
    passed: bool
    detail: str


def smoke(data: Path, config: Config, beside: Path, progress: ConsoleProgress) -> list[Check]:
    """Try everything that a long run relies on, in a minute or two.

    Args:
        data: the footage.
        config: the run's configuration; its stages are tried at full size, for a few steps.
        beside: a folder on the disk that the run will use; it is left as it was.
        progress: shows each check as it is done.

    Raises:
        DataError: the footage can't be read, or is too short for the configuration.
        RunError: the disk can't be written.
    """
    dataset = Dataset.open(data)
    refuse_footage(dataset, config)
    try:
        _clear_dead(beside)
        holder = tempfile.TemporaryDirectory(prefix=PREFIX, dir=beside.resolve())
    except OSError as error:
        raise RunError(f"{beside} can't be written: {error.strerror}", "Choose another folder.") from error
    checks: list[Check] = []
    with holder as name, RunLock(Path(name)):
        folder = Path(name)
        cut_footage(dataset, folder / "data", config)
        for check in _try_all(folder, shortened(config), progress):
            progress.say(f"smoke: {'ok ' if check.passed else 'FAILED '} {check.name}: {check.detail}")
            checks.append(check)
    return checks


def _clear_dead(beside: Path) -> None:
    """Take away what trials left that were killed: nobody holds their locks any more."""
    for folder in beside.glob(f"{PREFIX}*"):
        if is_held(folder) is False:
            shutil.rmtree(folder, ignore_errors=True)


def shortened(config: Config) -> Config:
    """The same configuration with a few steps per stage; sizes do not change."""
    tree = config.model_dump(mode="json")
    for stage in STAGES:
        warmup = min(tree[stage]["warmup_steps"], STEPS // 6)
        tree[stage] |= {"steps": STEPS, "checkpoint_every": STEPS // 2, "picture_every": STEPS}
        tree[stage] |= {"warmup_steps": warmup, "keep_checkpoints": 2}
    return from_tree(tree, "smoke")


def cut_footage(dataset: Dataset, path: Path, config: Config) -> None:
    """Store the beginnings of a few episodes as footage of their own, long enough for every stage."""
    clip = max(getattr(config, stage).clip_frames for stage in STAGES)
    length = max(2 * clip, config.dynamics.context_frames + 8)
    episodes = [*_longest(dataset.train, FRAMES // length), *_longest(dataset.held_out, 2)]
    with DatasetWriter(
        path,
        height=dataset.height,
        width=dataset.width,
        frames_per_second=dataset.frames_per_second,
        source="smoke",
        held_out_fraction=0.2,
    ) as writer:
        for episode in episodes:
            writer.add_episode(episode.frames_THWC[:length])


def _longest(episodes: Sequence[Episode], count: int) -> list[Episode]:
    return sorted(episodes, key=len, reverse=True)[: max(count, 2)]


def _try_all(folder: Path, config: Config, progress: ConsoleProgress) -> Iterator[Check]:
    began = time.monotonic()
    straight, killed = folder / "straight", folder / "killed"
    ended = _run(_command(folder, straight, config), folder)
    yield Check("trains", not ended, ended or f"{STEPS} steps of {len(STAGES)} stages in {_since(began)}")
    if ended:
        return
    yield _falls(straight)
    judged = judge_path(straight, 3)
    bad = [f"{each.path.name}: {each.reason}" for each in judged if not each.whole]
    yield Check("saves", not bad, "; ".join(bad) or f"{len(judged)} checkpoints are whole")
    yield _replays(straight, progress)
    where = _kill(_command(folder, killed, config), folder, killed, random.Random(config.seed))  # noqa: S311
    ended = _run(_command(folder, killed, config), folder)
    yield Check("survives a kill", not ended, ended or where)
    if not ended:
        yield _same(straight, killed)


def _command(folder: Path, run: Path, config: Config) -> list[str]:
    tree = flat(config.model_dump(mode="json"))
    settings = [f"{key}={json.dumps(value)}" for key, value in tree.items() if key != "preset"]
    words = [word for setting in settings for word in ("--set", setting)]
    beginning = ["--data", str(folder / "data"), "--preset", config.preset, *words]
    again = (run / "run.json").exists()
    train = [sys.executable, "-m", "terrarium", "train", "--run", str(run), "--no-smoke", "--no-gates"]
    return train if again else [*train, *beginning]


def _run(command: list[str], folder: Path) -> str:
    """ "" where a process ends well, or the last line of what it said."""
    ended = subprocess.run(  # noqa: S603 - our own words
        command, cwd=folder, env=launched.alone(), capture_output=True, text=True, check=False
    )
    lines = ended.stderr.strip().splitlines() or ["it said nothing"]
    return "" if ended.returncode == 0 else lines[-1][:300]


def _kill(command: list[str], folder: Path, run: Path, dice: random.Random) -> str:
    """Kill a training in the middle of a stage, when it has something to lose."""
    stage, steps = dice.choice(STAGES), dice.randint(STEPS // 2 + 1, STEPS - 1)
    history = run / stage / "history.jsonl"
    quiet = subprocess.DEVNULL
    train = subprocess.Popen(command, cwd=folder, env=launched.alone(), stdout=quiet, stderr=quiet)  # noqa: S603 - our own words
    with train as process:
        try:
            while process.poll() is None and not (history.exists() and _rows(history) >= steps):
                time.sleep(WATCHED_EVERY)
        finally:
            process.kill()
    return f"killed in {stage} after {_rows(history) if history.exists() else 0} steps, and resumed"


def _rows(history: Path) -> int:
    return history.read_bytes().count(b"\n")


def _falls(run: Path) -> Check:
    """Every stage's loss is lower in its last steps than in its first."""
    told, passed = [], True
    for stage in RunFolder.open(run).stages():
        losses = [row["loss"] for row in read_history(stage.history_path).rows]
        numbers = [float(loss) for loss in losses if isinstance(loss, int | float)]
        first, last = fmean(numbers[:3]), fmean(numbers[-STEPS // 4 :])
        told.append(f"{stage.name} {first:.3g} -> {last:.3g}")
        passed = passed and len(numbers) == STEPS and last < first
    return Check("learns", passed, ", ".join(told))


def _replays(run: Path, progress: ConsoleProgress) -> Check:
    from terrarium.proving import prove

    proofs = prove(run, 5, progress)
    bad = [f"{proof.path.name}: {proof.reason}" for proof in proofs if proof.holds is not True]
    return Check(
        "resumes bit for bit", not bad and bool(proofs), "; ".join(bad) or f"{len(proofs)} proofs, L4 and L5"
    )


def _same(straight: Path, killed: Path) -> Check:
    """Whether the killed and resumed run ended up the same as the one left alone."""
    differing = differences(RunFolder.open(straight), RunFolder.open(killed))
    well = "history, weights, average and optimizer, bit for bit"
    told = f"{', '.join(differing[:3])} of {len(differing)} differ" if differing else well
    return Check("is the same as if it had not been killed", not differing, told)


def _since(began: float) -> str:
    return f"{time.monotonic() - began:.0f} s"


def smoke_once(
    run: Path,
    data: Path,
    config: Config,
    progress: ConsoleProgress,
    try_it: Callable[..., list[Check]] = smoke,
) -> None:
    """Try a long run first, unless a run beside it passed with the same configuration and footage.

    The outcome is written to `smoke.json` in the run folder.

    Raises:
        HealthError: a check failed.
        RunError: no run can be begun in the folder.
        DataError: the footage can't be trained on.
    """
    if sum(getattr(config, stage).steps for stage in STAGES) < LONG_RUN or (run / "run.json").exists():
        return
    key = _key(data, config)
    if any(_passed(path, key) for path in run.parent.glob(f"*/{NAME}")):
        return
    refuse_occupied(run)
    run.mkdir(parents=True, exist_ok=True)
    progress.say("smoke: a trial before a long run, of a minute or two; --no-smoke leaves it out")
    checks = try_it(data, config, run.parent, progress)
    failed = [check for check in checks if not check.passed]
    if failed:
        raise HealthError(
            f"the trial before the run failed: {failed[0].name}: {failed[0].detail.rstrip('.')}",
            "Look at that first, or train with --no-smoke.",
        )
    write_json(run / NAME, {"format": 1, "key": key, "checks": [asdict(check) for check in checks]})


def _key(data: Path, config: Config) -> str:
    tree = config.model_dump_json()
    return hashlib.sha256(f"{Dataset.open(data).fingerprint}/{sys.version}/{tree}".encode()).hexdigest()


def _passed(path: Path, key: str) -> bool:
    try:
        tree = read_json(path)
    except RunError:
        return False
    return isinstance(tree, dict) and tree.get("key") == key
