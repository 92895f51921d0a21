"""Every code with patients: evidence in which it must be said, and evidence in which it must not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import healthy_losses
import numpy as np
import sick_losses
from PIL import Image

from patients import codes, gradients, memory, pace, painters, ranks, rates, scenes
from patients.courses import Maker
from terrarium.doctor.evidence import Evidence, Kind, Liveness, Picture, Plan, StageEvidence
from terrarium.doctor.history import History
from terrarium.doctor.looks import pair
from terrarium.doctor.ranks import Stretch
from terrarium.doctor.saved import Checkpoint, Refused, Unmoved

SICK: dict[str, dict[str, Maker]] = codes.SICK | rates.SICK | gradients.SICK | pace.SICK | memory.SICK
HEALTHY: dict[str, Maker] = codes.HEALTHY | rates.HEALTHY | gradients.HEALTHY | pace.HEALTHY | memory.HEALTHY
FLAWS = {
    "checkpoint-empty": "empty",
    "checkpoint-damaged": "damaged",
    "checkpoint-not-finite": "not-finite",
    "checkpoint-zero": "all-zero",
    "checkpoint-wrong-step": "wrong-step",
    "checkpoint-hostile": "hostile",
    "checkpoint-foreign": "foreign",
    "checkpoint-newest-unusable": "damaged",
}
_ASIDE = "dynamics/checkpoints/.refused-dynamics_step_50-4711"
REFUSED = (
    Refused(_ASIDE, 50, 4711, "empty", "model.safetensors", keys=0),
    Refused(_ASIDE, 50, 4711, "empty", "ema.safetensors", keys=12),
    Refused(_ASIDE, 50, 4711, "not-finite", "model.safetensors: head.bias (1)", keys=12),
    Refused(_ASIDE, 50, 4711, keys=12),
)
ILL_SCENES, WELL_SCENES = ("tile_world", "corridor"), ("cave", "platformer", "title", "pong")


def sick(code: str, seed: int) -> Iterator[Evidence]:
    """Runs of which a code must be said."""
    for maker in SICK.get(code, {}).values():
        yield alone(maker(np.random.default_rng(seed)).stage)
    for law in sick_losses.SICK.values():
        made = law(seed)
        if code in made.codes[:1]:
            yield alone(made.stage)
    if code in FLAWS:
        yield alone(saved(("", "", FLAWS[code])))
    for change in painters.ILL.get(code, ()):
        yield from (alone(drawn(change, scene, seed)) for scene in ILL_SCENES)
    yield from map(alone, of_several(code, seed))
    if code == "run-unfinished":
        yield replace(alone(trained(400, 1000)), liveness=Liveness(False, "lock-free"))
    if code == "upstream-unsound":
        yield built_on(trained(2000, 2000, still=True))
    if code == "world-falls-short":
        yield scored((20.0, 19.0), (0.2, 0.9))
        yield scored((24.0, 23.0), (-0.1, 0.5))
    if code == "parameters-frozen":
        yield alone(compared(500, ("encoder.weight", "encoder.bias"), 0.3))
        yield alone(compared(20, tuple(f"layers.{place}.weight" for place in range(9)), 0.9))


def of_several(code: str, seed: int) -> Iterator[StageEvidence]:
    """Sick stages that several processes trained."""
    for make in ranks.SICK.get(code, {}).values():
        yield make(np.random.default_rng(seed))
    if code == "checkpoint-refused":
        yield from (put_aside(refused, 40) for refused in REFUSED)
    if code == "every-rank-saves":
        yield put_aside(REFUSED[0], 50, ranks.ordinary(np.random.default_rng(seed)))


def well_of_several(code: str, seed: int) -> Iterator[StageEvidence]:
    """Healthy ones, to be held against these."""
    for make in ranks.HEALTHY.values() if code in ranks.SICK else ():
        yield make(np.random.default_rng(seed))
    if code == "checkpoint-refused":
        yield put_aside(None, 40)
        yield put_aside(REFUSED[0], 60)  # saving works again
    if code == "every-rank-saves":
        yield put_aside(REFUSED[0], 40)  # by a process that trains alone
        yield put_aside(REFUSED[1], 40, ranks.ordinary(np.random.default_rng(seed)))


def healthy(code: str, seed: int) -> Iterator[Evidence]:
    """Runs of which a code must not be said, or only as information."""
    if code in SICK:
        yield from (alone(maker(np.random.default_rng(seed)).stage) for maker in HEALTHY.values())
    if code.startswith(("loss-", "overfitting")):
        yield from (alone(law(seed).stage) for law in healthy_losses.HEALTHY.values())
    if code in FLAWS:
        yield alone(saved(("", "", "")))
    if code in painters.ILL:
        yield from (alone(drawn(change, scene, seed)) for change in painters.HEALTHY for scene in WELL_SCENES)
    yield from map(alone, well_of_several(code, seed))
    if code == "run-unfinished":
        yield replace(alone(trained(1000, 1000)), liveness=Liveness(False, "lock-free"))
        yield replace(alone(trained(400, 1000)), liveness=Liveness(True, "lock-held", 1.0))
    if code == "upstream-unsound":
        yield built_on(trained(2000, 2000))
    if code == "world-falls-short":
        yield scored((24.0, 23.0), (0.2, 0.9))
        yield scored((20.0, 19.0), (0.2, 0.9), clips=3)
        yield alone(trained(1000, 1000))
    if code == "parameters-frozen":
        yield alone(compared(500, (), 0.0))
        yield alone(compared(1, ("behind.an.output.of.zeros",), 0.5))


def alone(stage: StageEvidence) -> Evidence:
    """A run of one stage."""
    return Evidence(Path("run"), stage.kind, stages={stage.name: stage})


def built_on(tokenizer: StageEvidence) -> Evidence:
    """A run of a tokenizer and a healthy dynamics."""
    return Evidence(Path("run"), stages={"video_tokenizer": tokenizer, "dynamics": trained(2000, 2000)})


def trained(rows: int, planned: int, *, still: bool = False) -> StageEvidence:
    """A stage with a loss that falls, or always is the same."""
    step = np.arange(rows, dtype=np.float64)
    noise = np.random.default_rng(rows).standard_normal(rows)
    loss = np.full(rows, 0.1) if still else (0.1 + np.exp(-step / 200)) * np.exp(0.03 * noise)
    history = History({"step": step, "runtime": step, "loss": loss})
    return StageEvidence("video_tokenizer", source="history.csv", plan=Plan(steps=planned), history=history)


def scored(dreamed: tuple[float, float], delta: tuple[float, float], *, clips: int = 20) -> Evidence:
    """A run with scores: PSNR 4 and 16 frames ahead, where a copy has 22, and the interval of ΔPSNR."""
    dynamics = {
        "rollout_psnr": {"1": 15.0, "4": dreamed[0], "16": dreamed[1], "64": None},
        "copy_last_psnr": {"1": 30.0, "4": 22.0, "16": 22.0, "64": None},
        "moving_clips": dict.fromkeys(("1", "4", "16", "64"), clips),
        "delta_psnr_t4": {"mean": sum(delta) / 2, "low": delta[0], "high": delta[1]},
    }
    stage = replace(trained(1000, 1000), name="dynamics")
    return Evidence(Path("run"), stages={"dynamics": stage}, scores={"dynamics": dynamics})


def saved(flaws: tuple[str, ...]) -> StageEvidence:
    """A stage with a checkpoint for each flaw; "" is a whole one."""
    checkpoints = tuple(
        Checkpoint(1000 * (place + 1), f"step_{1000 * (place + 1)}", -1 if flaw else 3, 3, not flaw, flaw)
        for place, flaw in enumerate(flaws)
    )
    return StageEvidence("dynamics", Kind.TREE, checkpoints=checkpoints)


def put_aside(refused: Refused | None, saved_at: int, said: Stretch | None = None) -> StageEvidence:
    """A stage of which a state was refused, and that has a whole checkpoint; perhaps of several processes."""
    whole = Checkpoint(saved_at, f"dynamics_step_{saved_at}", 3, 3, True)
    alone = StageEvidence("dynamics", Kind.RUN, checkpoints=(whole,), refused=refused)
    return alone if said is None else replace(ranks.stage_of(said), checkpoints=(whole,), refused=refused)


def compared(step: int, names: tuple[str, ...], share: float) -> StageEvidence:
    """A stage whose parameters were compared with what they had been."""
    noted = Unmoved("dynamics/parameters.json", step, names, share)
    return replace(trained(500, 500), name="dynamics", unmoved=noted)


@cache
def drawn(change: painters.Change, scene: str, seed: int) -> StageEvidence:
    """A stage whose last two pictures were changed so."""
    rng = np.random.default_rng(seed)
    pictures = []
    for step in (6000, 8000):
        truth = scenes.clips(scene, seed + step, count=2)
        model = change(truth, rng)
        pairs = tuple(pair(_grey(t), _grey(m)) for t, m in zip(truth, model, strict=True))
        path = Path(f"prediction_step_{step}.png")
        pictures.append(Picture("dynamics", "prediction", step, path, pairs=pairs))
    return StageEvidence("dynamics", Kind.TREE, pictures=tuple(pictures))


def _grey(frames_THWC: scenes.Frames) -> np.ndarray:
    return np.stack([np.asarray(Image.fromarray(frame).convert("L"), np.float32) for frame in frames_THWC])
