"""How a run begins, or is opened again: what is written into run.json, and what is refused."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path

import torch

from terrarium.config import Config, flat, from_tree
from terrarium.data.dataset import Dataset
from terrarium.errors import DataError, RunError
from terrarium.models.device import choose_device
from terrarium.models.tokenizer import STRIDE
from terrarium.run.folder import RunFolder, write_json
from terrarium.train.stages import refuse_short_footage
from terrarium.train.surroundings import commit

MOST_CHANGES = 6  # listed in an error; another preset changes about thirty


def open_or_begin(run_path: Path, data: Path | None, config: Config | None) -> RunFolder:
    """Open the run at a path, or begin one if there is none.

    Raises:
        RunError: it was started with other footage or another configuration, or one of them is missing to
            begin a new run.
    """
    if (run_path / "run.json").exists():
        run = RunFolder.open(run_path)
        if config is not None:
            _refuse_other_config(run, config)
        return run if data is None else _with_footage_at(run, data)
    if data is None or config is None:
        raise RunError(f"{run_path} is not a run yet", "Give --data and --preset to begin one.")
    return RunFolder.create(run_path, facts=_facts(Dataset.open(data), config))


def refuse_footage(dataset: Dataset, config: Config) -> None:
    """Refuse footage that the stages can't be trained on.

    Raises:
        DataError: the sides of its frames are not multiples of a token's size, or it is too short.
    """
    if dataset.height % STRIDE or dataset.width % STRIDE:
        raise DataError(
            f"{dataset.path} has frames of {dataset.height}x{dataset.width}, not multiples of {STRIDE}",
            "Record or ingest it again with another --size.",
        )
    refuse_short_footage(dataset, config)


def _facts(dataset: Dataset, config: Config) -> dict[str, object]:
    refuse_footage(dataset, config)
    return {
        "data": str(dataset.path.resolve()),
        "data_fingerprint": dataset.fingerprint,
        "frame_size": [dataset.height, dataset.width],
        "frames_per_second": dataset.frames_per_second,
        "preset": config.preset,
        "config": config.model_dump(mode="json"),
        "device": str(choose_device(config.device)),
        "threads": torch.get_num_threads(),
        "commit": commit(),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("terrarium", "torch", "numpy", "safetensors")},
        },
    }


def _with_footage_at(run: RunFolder, data: Path) -> RunFolder:
    """The run, which remembers where its footage is now; other footage is refused."""
    dataset = Dataset.open(data)
    if dataset.fingerprint != run.facts.get("data_fingerprint"):
        raise RunError(f"{run.path} was started on other footage than {data}", "Choose another --run.")
    if str(dataset.path.resolve()) != run.facts.get("data"):
        write_json(run.path / "run.json", {**run.facts, "data": str(dataset.path.resolve())})
    return RunFolder.open(run.path)


def _refuse_other_config(run: RunFolder, config: Config) -> None:
    """A run resumes only with the configuration that it began with; the error shows what differs.

    `ranks` may differ: how processes share the work does not change the result.
    """
    had = flat(from_tree(run.facts.get("config"), str(run.path / "run.json")).model_dump(mode="json"))
    asked = flat(config.model_dump(mode="json"))
    changed = [
        f"{key} was {had.get(key)!r}, now {asked.get(key)!r}"
        for key in asked
        if asked[key] != had.get(key) and not key.startswith("ranks.")
    ]
    if changed:
        more = [f"and {len(changed) - MOST_CHANGES} more"] if len(changed) > MOST_CHANGES else []
        raise RunError(
            f"{run.path} was started with another configuration: "
            f"{'; '.join([*changed[:MOST_CHANGES], *more])}",
            "Resume with what it was started with (no --preset and no --set), or choose another --run.",
        )
