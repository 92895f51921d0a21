"""Opening a Gymnasium environment and finding its pixels, whichever package it comes from."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.util
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from terrarium.errors import DataError, MissingExtraError, TerrariumError

MIN_SIDE = 16  # smaller observations are tables of symbols, not pictures
PIXEL_NAMES = ("screen", "rgb", "pixels", "image", "frame", "observation")

Env = gym.Env[Any, Any]


@dataclass(frozen=True)
class Family:
    """The environments of one package.

    Attributes:
        prefix: what their ids begin with, lower case.
        package: the package to import.
        extra: the extra of Terrarium that installs it.
        skip_keyword: the constructor's name for frame skip, or None if we have to repeat actions ourselves.
        frame_skip: the default for these games.
        make_kwargs: further arguments for the constructor.
        game_rate: game frames per second, if `render_fps` is something else.
    """

    prefix: str
    package: str
    extra: str
    skip_keyword: str | None
    frame_skip: int
    make_kwargs: Mapping[str, Any]
    game_rate: float | None = None


FAMILIES = (
    Family("vizdoom", "vizdoom", "vizdoom", "frame_skip", 4, {}),
    # With sticky actions the stored action could differ from the one carried out.
    Family("ale/", "ale_py", "atari", "frameskip", 4, {"repeat_action_probability": 0.0}, 60.0),
    Family("crafter", "crafter", "crafter", None, 1, {}),
)
ANY_OTHER = Family("", "gymnasium", "", None, 4, {})


def family_of(env_id: str) -> Family:
    """The package that an id belongs to, by its prefix."""
    for family in FAMILIES:
        if env_id.casefold().startswith(family.prefix):
            return family
    return ANY_OTHER


@contextlib.contextmanager
def playing(env_id: str, family: Family, skip: int, make_kwargs: Mapping[str, Any]) -> Iterator[Env]:
    """Open an environment in a temporary working directory, because ViZDoom writes its settings there.

    Args:
        env_id: a Gymnasium id.
        family: of the id.
        skip: game frames per step, for families that do the skipping themselves.
        make_kwargs: more arguments for the constructor.

    Raises:
        DataError: unknown id, no pixels, or the environment breaks, now or while it is played.
        MissingExtraError: its package is not installed.
    """
    settings = dict(family.make_kwargs)
    if family.skip_keyword is not None:
        settings[family.skip_keyword] = skip
    settings.update(make_kwargs)
    with tempfile.TemporaryDirectory(prefix="terrarium-") as folder, _working_in(folder):
        _register(family)
        _check_known(env_id)
        env = _make(env_id, settings)
        try:
            yield env
        except Exception as error:
            raise _explain(env_id, error) from error
        finally:
            env.close()


@contextlib.contextmanager
def _working_in(folder: str) -> Iterator[None]:
    """Without XDG_RUNTIME_DIR, ViZDoom's window library complains on the user's screen."""
    missing = "XDG_RUNTIME_DIR" not in os.environ
    with contextlib.chdir(folder):
        try:
            if missing:
                os.environ["XDG_RUNTIME_DIR"] = folder
            yield
        finally:
            if missing:
                os.environ.pop("XDG_RUNTIME_DIR", None)


def _explain(env_id: str, error: Exception) -> BaseException:
    if isinstance(error, TerrariumError):
        return error
    if type(error).__name__ == "SignalException":  # ViZDoom catches Ctrl-C itself
        return KeyboardInterrupt()
    return DataError(f"{env_id} broke: {_one_line(error)}", "Record another environment.")


def _register(family: Family) -> None:
    """Make a family's ids known to Gymnasium."""
    if family is ANY_OTHER:
        return
    if importlib.util.find_spec(family.package) is None:
        raise MissingExtraError(family.package, family.extra)
    if family.package == "vizdoom":
        importlib.import_module("vizdoom.gymnasium_wrapper")
    elif family.package == "ale_py":
        ale = importlib.import_module("ale_py")
        ale.ALEInterface.setLoggerMode(ale.LoggerMode.Error)  # no banner
        gym.register_envs(ale)
    elif "Crafter-v1" not in gym.registry:
        gym.register("Crafter-v1", entry_point="terrarium.data.sources.crafter:Crafter")


def _check_known(env_id: str) -> None:
    try:
        gym.spec(env_id)
    except (gym.error.Error, ImportError) as error:
        for family in FAMILIES:
            if importlib.util.find_spec(family.package) is not None:
                _register(family)
        names = {name.casefold(): name for name in gym.registry}
        close = difflib.get_close_matches(env_id.casefold(), names, n=3, cutoff=0.5)
        hint = f"Did you mean {', '.join(names[name] for name in close)}?" if close else "Check the id."
        raise DataError(f"no environment is called {env_id!r}", hint) from error


def _make(env_id: str, settings: dict[str, Any]) -> Env:
    try:
        env: Env = gym.make(env_id, disable_env_checker=True, **settings)
        if pixel_space(env.observation_space) is not None:
            return env
        modes = env.metadata.get("render_modes", [])
        env.close()
        if "rgb_array" not in modes:
            raise DataError(
                f"{env_id} shows no pixels", "Choose an environment with pixels, or with rgb_array."
            )
        return gym.make(env_id, disable_env_checker=True, **{**settings, "render_mode": "rgb_array"})
    except DataError:
        raise
    except Exception as error:
        raise DataError(
            f"{env_id} can't be made: {_one_line(error)}", "Check its own requirements."
        ) from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__


def pixel_space(space: spaces.Space[Any]) -> str | None:
    """Where an observation holds its picture: "" if it is one, its name in a Dict, None if nowhere."""
    if _is_picture(space):
        return ""
    if not isinstance(space, spaces.Dict):
        return None
    pictures = [name for name, part in space.spaces.items() if _is_picture(part)]
    for name in PIXEL_NAMES:
        if name in pictures:
            return name
    return pictures[0] if len(pictures) == 1 else None


def _is_picture(space: spaces.Space[Any]) -> bool:
    if not isinstance(space, spaces.Box) or space.dtype != np.uint8 or len(space.shape) not in {2, 3}:
        return False
    return min(space.shape[:2]) >= MIN_SIDE and space.shape[2:] in {(), (1,), (3,), (4,)}


def pixel_reader(env: Env) -> Callable[[Any], NDArray[np.uint8]]:
    """A function from an observation of `env` to its picture; it renders if observations hold none."""
    name = pixel_space(env.observation_space)
    if name == "":
        return np.asarray
    if name is not None:
        return lambda observation: np.asarray(observation[name])
    return lambda _: np.asarray(env.render())


def frames_per_second(env: Env, family: Family, skip: int) -> float | None:
    """Rate of the stored frames when every `skip`-th game frame is stored, or None where unknown."""
    rate = family.game_rate or (env.metadata or {}).get("render_fps")
    return float(rate) / skip if rate and rate > 0 else None
