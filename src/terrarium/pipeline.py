"""The order of a run: three stages, each built on the one before, then the play gate and the report."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import torch

from terrarium.beginning import open_or_begin
from terrarium.config import Config, RanksConfig
from terrarium.data.dataset import Dataset
from terrarium.data.tokens import TokenStore
from terrarium.doctor.report import write_report
from terrarium.errors import CheckpointError, RunError
from terrarium.evaluate import open_footage
from terrarium.finished import ask_at_play_gate
from terrarium.healing import DoctorGate
from terrarium.healing.decisions import undone
from terrarium.models.build import (
    load_latent_actions,
    load_tokenizer,
    run_config,
    stage_is_trained,
    trained_checkpoint,
)
from terrarium.models.device import choose_device
from terrarium.run import disk
from terrarium.run.folder import STAGES, RunFolder, StageFolder, point_latest, write_json
from terrarium.run.freeze import forget_stop
from terrarium.run.lock import RunLock
from terrarium.run.manifest import sha256_of_manifest
from terrarium.train.adjustments import set_back
from terrarium.train.distributed import ALONE, Ranks, joined
from terrarium.train.interruption import Interruption, leaving_at_once
from terrarium.train.loop import train_stage
from terrarium.train.proof import is_proven, note_proof, prove_probe
from terrarium.train.stages import (
    Stage,
    dynamics_stage,
    encode_episode,
    latent_actions_stage,
    tokenizer_stage,
)
from terrarium.train.state import describe_model
from terrarium.train.surroundings import how_it_goes_on, surroundings

if TYPE_CHECKING:
    from terrarium.progress import ConsoleProgress


def train(
    run_path: Path,
    data: Path | None,
    config: Config | None,
    progress: ConsoleProgress,
    *,
    gates: bool = True,
    heal: bool = True,
    before: Callable[[], None] | None = None,
) -> RunFolder:
    """Train the three stages of a run, or resume them; the report is written at the end.

    Args:
        run_path: the run's folder; a new run if there is none in it.
        data: the dataset; optional if the run exists.
        config: the configuration; optional if the run exists, else the one that it was started with.
        progress: shows how it goes.
        gates: whether the doctor is asked, every few steps and at the end.
        heal: whether what it finds is treated; otherwise it stops training.
        before: called first; of several processes the first calls it while the others wait.

    Raises:
        HealthError: a stage is critical, and nothing cured it.
        RunError: another process holds the run, or it was started with something else.
        TerrariumError: anything else that keeps training from going on; what was saved stays.
    """
    with leaving_at_once(), joined(_patience(run_path, config)) as ranks, ExitStack() as stack:
        path = ranks.from_first(lambda: str(_begin(run_path, data, config, ranks, before, stack)))
        run = RunFolder.open(Path(path))
        dataset, config = open_footage(run), _config_in_force(run, config)
        device = ranks.device(choose_device(config.device))
        progress.say(f"run {run.path}\n{dataset.describe()}")
        if ranks.is_first:
            stack.push(functools.partial(_report, run.path, progress))
        done = ranks.from_first(lambda: [name for name in STAGES if is_done(run.stage(name), proven=gates)])
        here = surroundings(str(device), ranks.count, config.ranks.strategy)
        if len(done) < len(STAGES) and (words := how_it_goes_on(run, here)):
            progress.say(words)
        for name in STAGES:
            folder = run.stage(name)
            if name not in done:
                stage, parents = build_stage(run, name, config, dataset, device, progress, ranks)
                gate = None
                if gates:
                    gate = DoctorGate(
                        stage, folder, config, heal=heal, say=progress.say, processes=ranks.count
                    )
                _train(stage, folder, config, progress, parents, gate, ranks)
        if gates and config.gates.play:  # all stay until it is decided: the launcher starts all again or none
            ranks.from_first(lambda: ask_at_play_gate(run, config, progress))
    return run


def _begin(
    run_path: Path,
    data: Path | None,
    config: Config | None,
    ranks: Ranks,
    before: Callable[[], None] | None,
    stack: ExitStack,
) -> Path:
    """Open or begin the run, whose lock is held until `stack` ends; for the first of several processes."""
    if config is not None:  # too small to be shared out: refused before anything is made or trained
        _refuse_small_batches(config, ranks)
    if before is not None:
        before()
    stack.enter_context(RunLock(run_path))
    run = open_or_begin(run_path, data, config)
    _refuse_small_batches(run_config(run), ranks)
    open_footage(run)  # an error in it is the same for all
    point_latest(run.path)
    forget_stop(run.path)
    disk.sweep(run.path)
    return run.path


def _refuse_small_batches(config: Config, ranks: Ranks) -> None:
    for name in STAGES:
        ranks.share(getattr(config, name).micro_batch)


def _patience(run_path: Path, config: Config | None) -> float:
    """Seconds that a process may keep the others waiting, by the configuration given or the run's."""
    if config is None and (run_path / "run.json").exists():
        config = run_config(RunFolder.open(run_path))
    return (config.ranks if config else RanksConfig()).timeout_seconds


def _config_in_force(run: RunFolder, asked: Config | None) -> Config:
    """The run's own, but for how processes share the work: that does not change the result."""
    own = run_config(run)
    return own if asked is None else own.model_copy(update={"ranks": asked.ranks})


def _report(
    run_path: Path,
    progress: ConsoleProgress,
    _kind: type[BaseException] | None,
    error: BaseException | None,
    _trace: TracebackType | None,
) -> None:
    """Write the report, also where we are asked to leave meanwhile: launchers give some time for that.

    Where it can't be written, what ended training is still the error that is told.
    Who asked twice does not wait for it.
    """
    if isinstance(error, KeyboardInterrupt):
        return
    try:
        with Interruption():
            write_report(run_path)
    except RunError as unwritten:
        if error is None:
            raise
        progress.say(unwritten.what)


def is_done(folder: StageFolder, *, proven: bool) -> bool:
    """Whether a stage took its last step and, if it is to be `proven`, its last checkpoint was used (L4).

    After a kill between the last save and that use the stage is trained, but not done.
    """
    if not stage_is_trained(folder):
        return False
    return not proven or is_proven(folder, trained_checkpoint(folder))


def build_stage(
    run: RunFolder,
    name: str,
    config: Config,
    dataset: Dataset,
    device: torch.device,
    progress: ConsoleProgress,
    ranks: Ranks = ALONE,
) -> tuple[Stage, list[Path]]:
    """A stage of a run before its first step, and the checkpoints that it stands on.

    Raises:
        CheckpointError: a stage that it stands on is not trained.
    """
    if name == "video_tokenizer":
        return tokenizer_stage(config, dataset, device), []
    if name == "latent_actions":
        return latent_actions_stage(config, dataset, device), []
    tokenizer, actions = load_tokenizer(run).to(device), load_latent_actions(run).to(device)
    parents = [trained_checkpoint(run.stage(parent)) for parent in ("video_tokenizer", "latent_actions")]
    keys = [dataset.fingerprint, *(sha256_of_manifest(parent) for parent in parents)]
    store = TokenStore(run.path / "tokens", keys, tokenizer.rows * tokenizer.columns)
    encode = functools.partial(encode_episode, tokenizer, actions, device)
    ours = dataset.train[ranks.rank :: ranks.count]
    store.fill(ours, encode, functools.partial(progress.update, "tokenizing footage"))
    ranks.wait()
    return dynamics_stage(config, dataset, tokenizer, actions, store, device), parents


def _train(
    stage: Stage,
    folder: StageFolder,
    config: Config,
    progress: ConsoleProgress,
    parents: list[Path],
    gate: DoctorGate | None,
    ranks: Ranks,
) -> None:
    ranks.from_first(lambda: _prepare(stage, folder, parents, progress))
    train_stage(stage, folder, config, progress, gate, ranks)
    if gate is not None:
        ranks.from_first(lambda: _prove(stage, folder, config))


def _prepare(stage: Stage, folder: StageFolder, parents: list[Path], progress: ConsoleProgress) -> None:
    """Write what the stage is; a decision that a kill came before is carried out."""
    _write_config(stage, folder, parents)
    if (adjustment := undone(folder)) is not None:
        progress.say(
            f"{folder.name} goes back to step {adjustment.from_step}: decided before it was stopped, "
            f"for {adjustment.reason}"
        )
        set_back(folder, adjustment)


def _prove(stage: Stage, folder: StageFolder, config: Config) -> None:
    """A stage is done when its last checkpoint was used with success (L4), not when it was written."""
    proof = prove_probe(stage, folder, config, trained_checkpoint(folder))
    note_proof(proof, folder)
    if proof.holds is False:
        raise CheckpointError(
            f"{proof.path} does not do what it did when it was saved: {proof.reason}",
            "Resume: the checkpoint before it is taken if this one is moved away.",
        )


def _write_config(stage: Stage, folder: StageFolder, parents: list[Path]) -> None:
    folder.create()
    write_json(
        folder.config_path,
        {
            "format": 1,
            "stage": stage.name,
            "steps": stage.config.steps,
            "config": stage.config.model_dump(mode="json"),
            "loss_unit": stage.loss_unit,
            "chance_level": stage.chance_level,
            "parents": [
                {"path": str(parent.relative_to(folder.path.parent)), "sha256": sha256_of_manifest(parent)}
                for parent in parents
            ],
            **describe_model(stage.model),
        },
    )
