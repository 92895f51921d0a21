"""What a user types, and what comes back: one clear line for whatever can't be."""

from __future__ import annotations

import errno
import json
import shutil
import socket
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from terrarium import cli, pipeline
from terrarium.cli import main
from terrarium.data.dataset import Dataset
from terrarium.run.folder import STAGES, RunFolder
from terrarium.run.lock import RunLock
from tiny_training import flip_a_bit, terminate_after, timeless
from tiny_world import as_options, store_footage

HEAVY = (
    *("torch", "numpy", "matplotlib", "gymnasium", "PIL", "av", "h5py"),
    *("fastapi", "uvicorn", "pydantic", "rich", "jinja2", "safetensors"),
)
TWO_STEPS = [f"{name}.steps=2" for name in STAGES]


@pytest.fixture(autouse=True)
def _here(quick_disk: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test types in a folder of its own; reports are the doctor's to test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pipeline, "write_report", lambda _path: None)


def terrarium(*words: str | Path) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception  # a user would see a traceback
    return result


def refusal(result: Result, code: int) -> str:
    """The one line that says what is wrong; nothing else follows it."""
    assert result.exit_code == code, result.output
    lines = result.stderr.splitlines()
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
    assert "Traceback" not in result.output
    return lines[-1].removeprefix("error: ")


@pytest.fixture
def copied(trained: RunFolder, tmp_path: Path) -> Path:
    """The trained run, to be changed."""
    return Path(shutil.copytree(trained.path, tmp_path / "copied"))


# ------------------------------------------------------------------------------------------ what it loads


def loaded_after(code: str) -> set[str]:
    """The modules of a fresh Python that ran some code."""
    script = f"import sys\n{code}\nprint(*sys.modules, file=sys.stderr)"
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(process.stderr.split())


def test_the_command_line_itself_loads_nothing_heavy() -> None:
    loaded = loaded_after("import terrarium, terrarium.cli")
    assert loaded.isdisjoint(HEAVY)
    assert len([name for name in loaded if name.startswith("terrarium")]) <= 4


def test_what_needs_no_torch_loads_none(trained: RunFolder, tmp_path: Path) -> None:
    verbs = [["--help"], ["verify", str(trained.path)], ["export", str(trained.path), "--out", str(tmp_path)]]
    loop = (
        "from terrarium.cli import main\n"
        f"for words in {verbs!r}:\n"
        "    assert main(words, standalone_mode=False) in (0, None)"
    )
    assert loaded_after(loop).isdisjoint({"torch", "matplotlib", "gymnasium", "fastapi"})


# ------------------------------------------------------------------------------------------- what is wrong


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
    assert not (tmp_path / "o").exists()


def test_clips_longer_than_the_footage(footage: Dataset) -> None:
    options = as_options("video_tokenizer.clip_frames=21")
    said = refusal(terrarium("train", "--data", footage.path, "--run", "r", *options), 1)
    assert "needs clips of 21 frames, but the longest episode has 20" in said
    assert said.endswith("--set video_tokenizer.clip_frames=20")


def test_footage_of_a_size_that_can_not_be(tmp_path: Path) -> None:
    data = store_footage(tmp_path / "data", (36, 32)).path
    assert "--size" in refusal(terrarium("train", "--data", data, "--run", "r", *as_options()), 1)


def test_another_configuration_is_shown_as_a_difference(copied: Path) -> None:
    said = refusal(terrarium("train", "--run", copied, *as_options("dynamics.steps=9")), 1)
    assert "dynamics.steps was 6, now 9" in said
    assert "seed" not in said
    assert "video_tokenizer.steps was 6, now" in refusal(
        terrarium("train", "--run", copied, "--preset", "base"), 1
    )


def test_a_second_launcher_is_told_who_is_first(copied: Path) -> None:
    with RunLock(copied):
        said = refusal(terrarium("train", "--run", copied), 1)
    assert "is being written by process" in said


def test_a_busy_port(trained: RunFolder) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refusal(terrarium("play", trained.path, "--port", str(port)), 1)
    assert f"port {port} is already in use" in said


def test_a_world_is_not_served_to_everybody(trained: RunFolder) -> None:
    assert "stands for every address" in refusal(terrarium("play", trained.path, "--host", "0.0.0.0"), 1)  # noqa: S104


def test_a_run_that_is_not_trained_can_not_be_played_or_scored(copied: Path) -> None:
    shutil.rmtree(copied / "dynamics" / "checkpoints")
    for verb in ("play", "evaluate"):
        assert "dynamics has no valid checkpoint" in refusal(terrarium(verb, copied), 1)


def test_a_run_json_that_is_none(copied: Path) -> None:
    (copied / "run.json").write_text("{")
    for words in (("train", "--run", copied), ("evaluate", copied), ("export", copied)):
        assert "run.json is damaged" in refusal(terrarium(*words), 1)


def test_a_disk_that_fails_is_one_line_too(
    footage: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "report.html")

    monkeypatch.setattr(pipeline, "write_report", full)
    result = terrarium("train", "--data", footage.path, "--run", "r", *as_options(*TWO_STEPS))
    assert refusal(result, 1) == "report.html: No space left on device"


# --------------------------------------------------------------------------------------------- what is right


def test_train_and_train_again(footage: Dataset, tmp_path: Path) -> None:
    words = ["train", "--data", str(footage.path), "--run", "r", *as_options(*TWO_STEPS)]
    result = terrarium(*words)
    assert result.exit_code == 0
    assert result.stdout == f"report: {tmp_path / 'r' / 'report.html'}\n"
    assert all(f"{name}  2/2  loss" in result.stderr for name in STAGES)
    assert json.loads((tmp_path / "r" / "run.json").read_text())["data"] == str(footage.path)
    again = terrarium(*words)
    assert again.exit_code == 0
    assert "loss" not in again.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r"]


def test_asked_to_end_it_exits_0_and_says_how_to_go_on(
    footage: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = terminate_after(3)
    monkeypatch.setattr("terrarium.progress.ConsoleProgress", lambda: told)
    result = terrarium("train", "--data", footage.path, "--run", "r", *as_options())
    assert result.exit_code == 0
    assert result.stdout == ""
    assert "SIGTERM at step 3 of video_tokenizer: saved" in told.lines[-1]
    assert "terrarium train --run r" in told.lines[-1]
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert timeless(RunFolder.open(tmp_path / "r").stage("video_tokenizer"))[-1]["step"] == 2


def test_without_a_run_one_is_begun_in_results(
    footage: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = terrarium("train", "--data", footage.path, *as_options(*TWO_STEPS))
    assert result.exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["results"]
    (run,) = (path for path in (tmp_path / "results").iterdir() if not path.is_symlink())
    assert (tmp_path / "results" / "latest").resolve() == run


def test_evaluate_prints_one_json_object(copied: Path) -> None:
    result = terrarium("evaluate", copied, "--json")
    assert result.exit_code == 0
    scores = json.loads(result.stdout)
    assert scores.keys() >= {"video_tokenizer", "latent_actions", "dynamics", "play"}
    assert scores == json.loads((copied / "scores.json").read_text())


def test_evaluate_prints_the_report(copied: Path) -> None:
    result = terrarium("evaluate", copied)
    assert result.stdout == (copied / "report.md").read_text() + "\n"


def test_verify_says_whole_or_not(copied: Path) -> None:
    result = terrarium("verify", copied)
    assert result.exit_code == 0
    assert result.stdout.count(": whole, level L3") == 6
    damaged = copied / "latent_actions" / "checkpoints" / "latent_actions_step_6"
    flip_a_bit(damaged / "optimizer.safetensors")
    for path in (copied, damaged):
        result = terrarium("verify", path)
        assert result.exit_code == 11
        (line,) = (line for line in result.stdout.splitlines() if "NOT whole" in line)
        assert "latent_actions_step_6: NOT whole, level L0" in line
        assert "optimizer.safetensors" in line
        assert "Traceback" not in result.output
    assert "latent_actions_step_3)" in terrarium("verify", copied).stdout


@pytest.mark.parametrize("what", ["nowhere", "file", "empty", "empty/dynamics_step_3"])
def test_verify_of_what_is_no_run_exits_11(what: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(range(256)))
    (tmp_path / "empty").mkdir()
    result = terrarium("verify", what)
    assert result.exit_code == 11
    assert "NOT whole" in result.stdout
    assert len(result.stdout.splitlines()) == 1


def test_export_names_what_it_wrote(copied: Path, tmp_path: Path) -> None:
    result = terrarium("export", copied)
    assert result.exit_code == 0
    written = [Path(line) for line in result.stdout.splitlines()]
    assert len(written) == 6
    assert all(path.parent == Path("Logs") and path.stat().st_size for path in written)
    rows = json.loads(written[0].read_text())
    assert [row["_step"] for row in rows] == list(range(6))


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


def test_the_port_of_the_demo_is_that_of_play() -> None:
    ports = {
        option.default
        for verb in ("demo", "play")
        for option in main.commands[verb].params
        if option.name == "port"
    }
    assert ports == {cli.PORT}
