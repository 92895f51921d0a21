"""Where everything of a run lies. `docs/run-folder.md` shows the whole tree."""

from __future__ import annotations

import os
import re
import secrets
import string
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from terrarium.errors import RunError
from terrarium.run import disk

FORMAT = 1
RESULTS = "results"
STAGES = ("video_tokenizer", "latent_actions", "dynamics")

_FROM_A_COPY = "Restore it from a copy"
_ID_LETTERS = string.ascii_lowercase + string.digits
_ID = re.compile(r"[a-z0-9]{8}")
_CHECKPOINT_NAME = re.compile(rf"({'|'.join(STAGES)})_step_(0|[1-9][0-9]{{0,14}})")


def write_json(path: Path, obj: object) -> None:
    """Write strict JSON so that a kill leaves the old file or the new one. NaN and infinity become null.

    Raises:
        RunError: the disk is full or can't be written, or `obj` holds something that JSON can't express.
    """
    try:
        disk.write_atomically(path, disk.dump_json(disk.without_non_finite(obj), indent=2))
    except (TypeError, ValueError) as error:
        raise RunError(f"{path} can't be written: it would hold what JSON can't ({error})") from error
    except OSError as error:
        raise RunError(
            f"{path} can't be written: {disk.why(error)}", "Free some space or choose another folder"
        ) from error


def read_json(path: Path, *, limit: int = disk.MAX_JSON_BYTES) -> object:
    """Read strict JSON from a regular file of at most `limit` bytes.

    Raises:
        RunError: it is missing, too large, not a regular file, or not JSON.
    """
    try:
        return disk.parse_json(disk.read_bounded(path, limit))
    except OSError as error:
        raise RunError(f"{path} can't be read: {disk.why(error)}") from error
    except ValueError as error:
        raise RunError(f"{path} is damaged: it {error}") from error


@dataclass(frozen=True)
class StageFolder:
    """The folder of one stage of one run.

    Attributes:
        path: the folder itself.
        name: the stage, one of `STAGES`; also the kind of its checkpoints.
        run_id: the run that it belongs to; checkpoints of other runs are ignored.
    """

    path: Path
    name: str
    run_id: str

    @property
    def config_path(self) -> Path:
        return self.path / "config.json"

    @property
    def history_path(self) -> Path:
        return self.path / "history.jsonl"

    @property
    def discarded_path(self) -> Path:
        return self.path / "history.discarded.jsonl"

    @property
    def checkpoints_path(self) -> Path:
        return self.path / "checkpoints"

    @property
    def visualizations_path(self) -> Path:
        return self.path / "visualizations"

    def checkpoint_path(self, step: int) -> Path:
        """The folder that the checkpoint of `step` has or would have."""
        return self.checkpoints_path / f"{self.name}_step_{step}"

    def create(self) -> StageFolder:
        """Make missing folders.

        Raises:
            RunError: they can't be made.
        """
        for path in (self.checkpoints_path, self.visualizations_path):
            _make_folder(path)
        return self


@dataclass(frozen=True)
class RunFolder:
    """One run: a `run.json` and a folder per stage.

    Attributes:
        path: the folder, absolute, symlinks resolved.
        facts: the content of `run.json`.
    """

    path: Path
    facts: dict[str, object]

    @staticmethod
    def create(path: Path, *, facts: Mapping[str, object]) -> RunFolder:
        """Begin a run in a new or empty folder.

        Args:
            path: its folder, made if missing. A lock or a half-written `run.json` in it does not matter.
            facts: what to record (data, config, ...); `format`, `id` and `created` are added here.

        Raises:
            RunError: the folder already holds something else, or can't be written.
        """
        _make_folder(path)
        refuse_occupied(path)
        own = {"format": FORMAT, "id": _new_id(), "created": disk.now()}
        write_json(path / "run.json", {**own, **facts, **own})
        return RunFolder.open(path)

    @staticmethod
    def open(path: Path) -> RunFolder:
        """Open an existing run; a symlink such as `results/latest` is followed.

        Raises:
            RunError: there is no run, or its `run.json` is damaged or has another format.
        """
        resolved = Path(os.path.realpath(path))
        if not (resolved / "run.json").exists():
            raise RunError(
                f"{path} is not a run: there is no run.json in it"
                if resolved.exists()
                else f"{path} does not exist",
                "Give the folder of a run, such as results/latest, or start one with: terrarium train",
            )
        return RunFolder(resolved, _check_facts(resolved / "run.json"))

    @property
    def id(self) -> str:
        """Eight random lower-case letters and digits; every checkpoint holds them too."""
        return str(self.facts["id"])

    @property
    def data(self) -> Path:
        """The folder of the dataset that the run is trained on.

        Raises:
            RunError: `run.json` does not say.
        """
        data = self.facts.get("data")
        if not isinstance(data, str):
            raise RunError(f"{self.path / 'run.json'} names no dataset: the key 'data' is {disk.shown(data)}")
        return Path(data)

    def stage(self, name: str) -> StageFolder:
        """The folder of a stage, whether or not it exists yet.

        Raises:
            RunError: there is no such stage.
        """
        if name not in STAGES:
            raise RunError(f"there is no stage {name!r}", f"The stages are: {', '.join(STAGES)}")
        return StageFolder(self.path / name, name, self.id)

    def stages(self) -> list[StageFolder]:
        """The stages that have begun, in their order."""
        return [self.stage(name) for name in STAGES if (self.path / name).is_dir()]


def _new_id() -> str:
    return "".join(secrets.choice(_ID_LETTERS) for _ in range(8))


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            f"the folder {path} can't be made: {disk.why(error)}", "Choose another folder"
        ) from error


def refuse_occupied(path: Path) -> None:
    """Refuse a folder in which no run can be begun; a missing or empty one is fine.

    Raises:
        RunError: it holds a run or something else, or is not a folder.
    """
    if not path.exists():
        return
    if not path.is_dir():
        raise RunError(f"{path} is not a folder", "Choose another folder for the run")
    if (path / "run.json").exists():
        raise RunError(
            f"{path} holds a run already", "Resume it with the same command, or choose another folder"
        )
    # left by a start that was killed before it wrote run.json; footage of `demo`; the trial before `train`
    ours = re.compile(r"\.lock|\.run\.json\.\d+\.tmp|footage|smoke\.json|\.staging-.*")
    others = sorted(entry.name for entry in path.iterdir() if not ours.fullmatch(entry.name))
    if others:
        raise RunError(f"{path} is not empty and not a run: it holds {others[0]!r}", "Choose another folder")


def _check_facts(path: Path) -> dict[str, object]:
    try:
        facts = read_json(path)
    except RunError as error:
        raise RunError(error.what, _FROM_A_COPY) from error
    if not isinstance(facts, dict):
        raise RunError(f"{path} is damaged: it is not a JSON object", _FROM_A_COPY)
    if facts.get("format") != FORMAT:
        raise RunError(
            f"{path} has format {disk.shown(facts.get('format'))}; this version reads format {FORMAT}",
            "Use the version that wrote it",
        )
    if not (isinstance(facts.get("id"), str) and _ID.fullmatch(facts["id"])):
        raise RunError(
            f"{path} is damaged: {disk.shown(facts.get('id'))} is not the id of a run", _FROM_A_COPY
        )
    return facts


def new_run_path(results: Path) -> Path:
    """Make a new folder named by the local time, such as `results/2026_02_06_00_44_31`, and return it.

    It is made at once, so that two runs started within one second get different folders (`..._2`).

    Raises:
        RunError: it can't be made.
    """
    _make_folder(results)
    stem = time.strftime("%Y_%m_%d_%H_%M_%S")
    for number in count(1):
        path = results / (stem if number == 1 else f"{stem}_{number}")
        try:
            path.mkdir()
        except FileExistsError:
            continue
        except OSError as error:
            raise RunError(
                f"the folder {path} can't be made: {disk.why(error)}", "Choose another folder"
            ) from error
        return path
    raise AssertionError  # count() has no end


def point_latest(run_path: Path) -> bool:
    """Point the relative symlink `results/latest` at a run in `results`; runs elsewhere get no such link.

    Returns:
        False if that can't be done (no symlinks on this disk, a real folder of that name); no run fails
        because of it.
    """
    if run_path.parent.name != RESULTS:
        return False
    link, temporary = run_path.parent / "latest", run_path.parent / f".latest.{os.getpid()}.tmp"
    try:
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(run_path.name, target_is_directory=True)
        temporary.replace(link)
    except OSError:
        temporary.unlink(missing_ok=True)
        return False
    return True


def parse_checkpoint_name(name: str) -> tuple[str, int] | None:
    """The kind and step in a name such as `dynamics_step_50000`; None for any other name."""
    match = _CHECKPOINT_NAME.fullmatch(name)
    return (match[1], int(match[2])) if match else None


def checkpoint_step(checkpoint: Path | None) -> int:
    """The step in a checkpoint's name; 0, the beginning, if there is no checkpoint."""
    if checkpoint is None:
        return 0
    named = parse_checkpoint_name(checkpoint.name)
    assert named is not None, checkpoint  # noqa: S101 - list_checkpoints lists no other names
    return named[1]
