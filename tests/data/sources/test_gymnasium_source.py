from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from terrarium.data.dataset import Dataset, Episode
from terrarium.data.sources.gymnasium import record
from terrarium.errors import DataError, MissingExtraError

SIDE = 20


class Counter(gym.Env[Any, Any]):
    """Shows the running sum of its actions (0 to 2) as the grey of every pixel; ends after `length` steps.

    Args:
        show: how: "box", "grey", "dict", "render", "symbols" or "nothing".
        length: steps in an episode, 0 for no end.
        breaks: step at which it raises, 0 for never.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 40}  # noqa: RUF012 - Gymnasium's

    def __init__(
        self, show: str = "box", length: int = 30, breaks: int = 0, render_mode: str | None = None
    ) -> None:
        self.render_mode = render_mode
        self.show, self.length, self.breaks = show, length, breaks
        self.action_space = spaces.Discrete(3)
        box = spaces.Box(0, 255, (SIDE, SIDE, 3), np.uint8)
        small = spaces.Box(0, 255, (7, 7, 3), np.uint8)
        self.observation_space = {
            "box": box,
            "grey": spaces.Box(0, 255, (SIDE, SIDE), np.uint8),
            "dict": spaces.Dict({"health": spaces.Discrete(3), "rgb": box, "depth": box}),
            "render": spaces.Box(-1.0, 1.0, (4,)),
            "symbols": spaces.Dict({"image": small}),
            "nothing": spaces.Discrete(5),
        }[show]
        if show == "nothing":
            self.metadata = {"render_modes": ["ansi"]}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed, options=options)
        self.total = int(self.np_random.integers(50))
        self.steps = 0
        return self._look(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.total += int(action)
        self.steps += 1
        if self.steps == self.breaks:
            raise RuntimeError("the game\nfell over.")
        return self._look(), 0.0, self.steps == self.length, False, {}

    def render(self) -> Any:
        return np.full((SIDE, SIDE, 3), self.total % 256, np.uint8)

    def _look(self) -> Any:
        picture = self.render()
        return {
            "box": picture,
            "grey": picture[:, :, 0],
            "dict": {"health": 0, "rgb": picture, "depth": picture * 0},
            "render": np.zeros(4, np.float32),
            "symbols": {"image": picture[:7, :7]},
            "nothing": 0,
        }[self.show]


@pytest.fixture(autouse=True)
def counter() -> Iterator[None]:
    def make(**kwargs: Any) -> Counter:
        return Counter(**kwargs)

    gym.register("Counter-v0", entry_point=make)
    yield
    del gym.registry["Counter-v0"]


def everything(dataset: Dataset) -> list[Episode]:
    return sorted((*dataset.train, *dataset.held_out), key=lambda episode: episode.index)


def take(out: Path, frames: int = 200, **settings: Any) -> Dataset:
    return record("Counter-v0", out, **{"frames": frames, "size": (4, 6), **settings})


@pytest.mark.parametrize("show", ["box", "grey", "dict", "render", "symbols"])
@pytest.mark.parametrize("frame_skip", [1, 4])
def test_an_action_leads_from_its_frame_to_the_next(tmp_path: Path, show: str, frame_skip: int) -> None:
    """The classic mistake is one off: the grey must rise by the stored action, times the frame skip."""
    dataset = take(tmp_path / "out", frame_skip=frame_skip, make_kwargs={"show": show})
    assert dataset.frames_per_second == 40 / frame_skip
    assert sum(len(episode) for episode in everything(dataset)) == 200
    changes = 0
    for episode in everything(dataset):
        actions_T = episode.actions_T
        assert actions_T is not None
        grey_T = episode.frames_THWC[:, 0, 0, 0].astype(int)
        assert np.array_equal(np.diff(grey_T), actions_T[:-1] * frame_skip)
        changes += len(grey_T) - 1
    assert changes > 100


def test_the_terminal_observation_is_dropped(tmp_path: Path) -> None:
    dataset = take(tmp_path / "out", frames=300, frame_skip=1)
    assert [len(episode) for episode in everything(dataset)] == [30] * 10


def test_what_never_ends_is_cut(tmp_path: Path) -> None:
    dataset = take(tmp_path / "out", frames=2500, make_kwargs={"length": 0})
    assert sum(len(episode) for episode in everything(dataset)) == 2500
    assert max(len(episode) for episode in everything(dataset)) <= 1000


def test_equal_seeds_give_equal_fingerprints(tmp_path: Path) -> None:
    prints = [take(tmp_path / str(run), seed=seed).fingerprint for run, seed in enumerate([3, 3, 4])]
    assert prints[0] == prints[1] != prints[2]


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    take(tmp_path / "out", progress=lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert told[-1] == (200, 200)


@pytest.mark.parametrize(
    ("env_id", "make_kwargs", "message"),
    [
        ("Counter-v0", {"show": "nothing"}, "Counter-v0 shows no pixels"),
        ("Counter-v0", {"breaks": 7}, "Counter-v0 broke: the game fell over. Record another"),
        ("Counter-v0", {"colour": "red"}, "Counter-v0 can't be made"),
        ("Countre-v0", {}, r"no environment is called 'Countre-v0'. Did you mean Counter-v0"),
        ("no such thing", {}, "no environment is called"),
        ("no.such.module:Env-v0", {}, "no environment is called"),
    ],
)
def test_what_can_not_be_recorded(
    tmp_path: Path, env_id: str, make_kwargs: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError) as caught:
        record(env_id, tmp_path / "out", frames=100, make_kwargs=make_kwargs)
    assert message in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [{"frames": 3}, {"hold": 0.5}, {"frame_skip": 0}, {"size": (0, 4)}])
def test_impossible_settings(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(DataError):
        take(tmp_path / "out", **wrong)


@pytest.mark.parametrize(
    ("env_id", "extra"),
    [("VizdoomBasic-v1", "vizdoom"), ("ALE/Pong-v5", "atari"), ("Crafter-v1", "crafter")],
)
def test_a_missing_package_names_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, env_id: str, extra: str
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=rf"pip install -e '\.\[{extra}\]'"):
        record(env_id, tmp_path / "out")


def test_the_default_source_is_seeded_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("vizdoom")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    first, second = (record("VizdoomBasic-v1", Path(name), frames=150, seed=5) for name in ("one", "two"))
    assert first.fingerprint == second.fingerprint
    assert first.action_names == ("NOOP", "ATTACK", "MOVE_RIGHT", "MOVE_LEFT")
    assert first.frames_per_second == 35 / 4
    assert sorted(path.name for path in Path().iterdir()) == ["one", "two"]
    assert Path.cwd() == tmp_path / "here"
    frames_THWC = np.concatenate([episode.frames_THWC for episode in everything(first)])
    assert frames_THWC.std() > 10, "a picture, not a blank screen"
    moves = np.abs(np.diff(frames_THWC.astype(int), axis=0)).mean((1, 2, 3))
    assert (moves > 1).mean() > 0.3, "the player moves"


def test_buttons_are_numbered_as_combinations(tmp_path: Path) -> None:
    pytest.importorskip("vizdoom")
    dataset = record("VizdoomHealthGathering-MultiBinary-v1", tmp_path / "out", frames=40)
    assert dataset.action_names is not None
    assert dataset.action_names[:3] == ("NOOP", "MOVE_FORWARD", "TURN_RIGHT")
    assert dataset.action_names[-1] == "TURN_LEFT+TURN_RIGHT+MOVE_FORWARD"


def test_atari(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ale_py")
    first, second = (record("ALE/Pong-v5", tmp_path / name, frames=60) for name in ("one", "two"))
    assert first.fingerprint == second.fingerprint
    assert first.action_names == ("NOOP", "FIRE", "RIGHT", "LEFT", "RIGHTFIRE", "LEFTFIRE")
    assert first.frames_per_second == 15
    assert capfd.readouterr() == ("", ""), "no banner"


def test_crafter(tmp_path: Path) -> None:
    pytest.importorskip("crafter")
    first, second = (record("Crafter-v1", tmp_path / name, frames=80) for name in ("one", "two"))
    assert first.fingerprint == second.fingerprint
    assert first.action_names is not None
    assert first.action_names[:3] == ("noop", "move_left", "move_right")


INTERRUPTED = """
import sys
from pathlib import Path
from terrarium.data.sources.gymnasium import record
record("VizdoomBasic-v1", Path("out"), frames=10**6, progress=lambda *_: print("on", flush=True))
"""


def test_an_interrupt_leaves_nothing_behind(tmp_path: Path) -> None:
    pytest.importorskip("vizdoom")
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "on\n"
    time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)  # what Ctrl-C does: the game gets it too
    _, errors = process.communicate(timeout=30)
    assert "KeyboardInterrupt" in errors.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []
