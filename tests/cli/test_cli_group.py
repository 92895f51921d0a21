"""What a user types, and what comes back: one clear line for whatever can't be."""

from __future__ import annotations

import errno
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest
from click.testing import Result

from terrarium import finished, pipeline
from terrarium.cli import footage, group, main
from terrarium.cli.world import PORT
from terrarium.data.dataset import Dataset
from terrarium.run.folder import RunFolder
from tiny_world import as_options
from typed_commands import TWO_STEPS, refusal, terrarium

HEAVY = (
    *("torch", "numpy", "matplotlib", "gymnasium", "PIL", "av", "h5py"),
    *("fastapi", "uvicorn", "pydantic", "rich", "jinja2", "safetensors"),
)


def loaded_after(code: str) -> set[str]:
    """The modules of a fresh Python that ran some code."""
    script = f"import sys\n{code}\nprint(*sys.modules, file=sys.stderr)"
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(process.stderr.split())


def test_the_command_line_itself_loads_nothing_heavy() -> None:
    loaded = loaded_after("import terrarium, terrarium.cli")
    assert loaded.isdisjoint(HEAVY)
    ours = {name for name in loaded if name.startswith("terrarium") and not name.startswith("terrarium.cli")}
    assert ours == {"terrarium", "terrarium.errors", "terrarium.launched"}


def test_what_needs_no_torch_loads_none(trained: RunFolder, tmp_path: Path) -> None:
    verbs = [["--help"], ["verify", str(trained.path)], ["export", str(trained.path), "--out", str(tmp_path)]]
    loop = (
        "from terrarium.cli import main\n"
        f"for words in {verbs!r}:\n"
        "    assert main(words, standalone_mode=False) in (0, None)"
    )
    assert loaded_after(loop).isdisjoint({"torch", "matplotlib", "gymnasium", "fastapi"})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "--data", "d", "--preset", "quikc"], "there is no preset 'quikc'"),
        (["train", "--data", "d", "--set", "dynamics.step=3"], "Did you mean 'steps'?"),
        (["train", "--data", "d", "--set", "dynamics.steps=0"], "dynamics.steps = 0 is not allowed"),
        (["train", "--data", "d", "--set", "dynamics.steps"], "has no '='"),
        (["train"], "Give --data DATASET, or --run DIR"),
        (["demo", "--preset", "huge"], "there is no preset 'huge'"),
        (["record", "VizdoomBasic-v1", "--size", "64"], "--size '64' is not HEIGHTxWIDTH"),
        (["record", "VizdoomBasic-v1", "--size", "64x-64"], "is not HEIGHTxWIDTH"),
        (["record", "VizdoomBasic-v1", "--size", "64x64x3"], "is not HEIGHTxWIDTH"),
        (["record", "VizdoomBasic-v1", "--size", "²x²"], "is not HEIGHTxWIDTH"),
        (["record", "VizdoomBasic-v1", "--size", "60x64"], "--size 60x64: the sides must be multiples of 8"),
        (["ingest", "film.mp4", "--out", "o", "--size", "64x65"], "must be multiples of 8"),
        (["diagnose", "--explain", "xyz"], "no detector 'xyz'. All are shown by --list."),
        (["diagnose", "--explain", "loss-diverge"], "Did you mean loss-diverging"),
        (["ingest", "film.mp4", "--out", "o", "--size", "big"], "--size 'big' is not HEIGHTxWIDTH"),
    ],
)
def test_what_can_not_be_asked_exits_2(words: list[str], said: str, tmp_path: Path) -> None:
    assert said in refusal(terrarium(*words), 2)
    assert list(tmp_path.iterdir()) == []  # and nothing is left behind


@pytest.mark.parametrize(
    "words",
    [
        ["trian"],
        ["train", "--steps", "3"],
        ["play"],
        ["record", "E", "--frames", "0"],
        ["record", "E", "--frames", "many"],
        ["record", "E", "--seed", "-1"],
        ["demo", "--port", "70000"],
        ["ingest", "--out", "o"],
    ],
)
def test_a_word_that_is_no_command_exits_2(words: list[str]) -> None:
    result = terrarium(*words)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith("Error: ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "--data", "nowhere", "--run", "r"], "the dataset nowhere doesn't exist"),
        (["train", "--data", "file", "--run", "r"], "the dataset file is not a folder"),
        (["train", "--data", "empty", "--run", "r"], "empty is not a dataset"),
        (["train", "--run", "empty"], "empty is not a run yet. Give --data"),
        (["train", "--data", "nowhere"], "the dataset nowhere doesn't exist"),
        (["evaluate", "nowhere"], "nowhere does not exist"),
        (["evaluate", "empty"], "empty is not a run"),
        (["evaluate", "file"], "file is not a run"),
        (["play", "nowhere"], "nowhere does not exist"),
        (["export", "nowhere"], "nowhere does not exist"),
        (["ingest", "nowhere.mp4", "--out", "o"], "nowhere.mp4"),
        (["ingest", "file", "--out", "o"], "file"),
        (["ingest", "empty", "--out", "o"], "empty"),
        (["ingest", "file", "--out", "o", "--rate", "nan"], "nan"),
        (["ingest", "file", "--out", "o", "--rate", "-1"], "-1"),
        (["record", "NoSuchGame-v0", "--out", "o"], "no environment is called 'NoSuchGame-v0'"),
        (["record", "VizdoomBasic-v1", "--out", "o", "--frames", "1"], "at least 4 frames"),
        (["record", "VizdoomBasic-v1", "--out", "o", "--hold", "0"], "hold=0.0"),
        (["record", "VizdoomBasic-v1", "--out", "o", "--size", "0x0"], "0x0"),
    ],
)
def test_what_is_not_there_exits_1(words: list[str], said: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not what you think")
    (tmp_path / "empty").mkdir()
    assert said in refusal(terrarium(*words), 1)
    assert {path.name for path in tmp_path.iterdir()} == {"file", "empty"}  # and nothing is left behind


def test_a_disk_that_fails_is_one_line_too(
    footage: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "report.html")

    monkeypatch.setattr(pipeline, "write_report", full)
    result = terrarium("train", "--data", footage.path, "--run", "r", *as_options(*TWO_STEPS))
    assert refusal(result, 1) == "report.html: No space left on device"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), True),
        (RuntimeError("could not create a primitive"), True),
        (RuntimeError("a bug"), False),
    ],
)
def test_no_room_in_memory_is_one_line_and_a_bug_is_not(
    error: Exception, told: bool, trained: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(finished, "score", refuse)
    if told:
        assert refusal(terrarium("evaluate", trained.path), 1).startswith("out of memory. Close ")
    else:
        with pytest.raises(RuntimeError, match="a bug"):
            terrarium("evaluate", trained.path)


def test_a_run_json_that_is_none(copied: Path) -> None:
    (copied / "run.json").write_text("{")
    for words in (("train", "--run", copied), ("evaluate", copied), ("export", copied)):
        assert "run.json is damaged" in refusal(terrarium(*words), 1)


def test_every_verb_has_a_line_of_help() -> None:
    listing = terrarium("--help").stdout
    for name, command in main.commands.items():
        assert name in listing
        assert command.help
        assert terrarium(name, "--help").exit_code == 0


def test_the_version_is_told() -> None:
    assert terrarium("--version").stdout.endswith(f"version {version('terrarium')}\n")


def test_a_reader_that_leaves_early_is_no_traceback(trained: RunFolder) -> None:
    command = f"{sys.executable} -m terrarium verify {trained.path} | true"
    process = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in process.stderr


def test_sizes_are_multiples_of_what_the_tokenizer_takes() -> None:
    from terrarium.models.tokenizer import STRIDE

    assert footage.STRIDE == STRIDE


def test_the_port_of_the_demo_is_that_of_play() -> None:
    ports = {
        option.default
        for verb in ("demo", "play")
        for option in main.commands[verb].params
        if option.name == "port"
    }
    assert ports == {PORT}


@pytest.mark.parametrize("words", [["demo", "--no-play"], ["freeze", "."], ["record", "E"], ["play", "."]])
def test_most_verbs_are_for_one_process(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    start_as_one_of_two(monkeypatch, rank=0)
    said = refusal_of_one(terrarium(*words))
    assert said == f"error on rank 0: {words[0]} is for one process. Start it without torchrun.\n"
    assert list(Path().iterdir()) == []


def test_what_can_not_be_asked_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("train", "--data", "d", "--preset", "quikc")
    start_as_one_of_two(monkeypatch, rank=0)
    assert "there is no preset 'quikc'" in refusal_of_one(terrarium(*words))
    start_as_one_of_two(monkeypatch, rank=1)
    assert "error on rank 1" in refusal_of_one(terrarium(*words)), "nobody ended it, so nobody said it"
    monkeypatch.setattr(time, "sleep", lambda _: group._end(15, None))  # as torchrun does
    ended = terrarium(*words)
    assert (ended.exit_code, ended.stderr) == (143, "")


def start_as_one_of_two(monkeypatch: pytest.MonkeyPatch, rank: int) -> None:
    """What torchrun says in the environment."""
    monkeypatch.setattr(group, "LINGER", 1e-3)
    told = {"WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank), "TORCHELASTIC_RUN_ID": "job"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)


def refusal_of_one(result: Result) -> str:
    """What one process of several says when it refuses its words."""
    assert result.exit_code == 2
    assert result.stdout == ""
    return result.stderr
