"""A run in one paragraph."""

from __future__ import annotations

from terrarium.doctor.evidence import Evidence
from terrarium.doctor.json_files import JsonObject, mapping, number
from terrarium.doctor.wording import counted, duration, fixed, listed, plain, readable, share


def summary(evidence: Evidence, stages: JsonObject, verdict_words: str) -> str:
    """The run in one paragraph.

    Args:
        evidence: what the run folder holds.
        stages: the stages of `report.json`.
        verdict_words: the sentence that says where the verdict stands.
    """
    trained = {name: stages[name]["numbers"] for name in stages if stages[name]["numbers"]["rows"]}
    if not trained:
        return f"This run holds no training step yet. {verdict_words}"
    seconds = sum(numbers.get("seconds") or 0.0 for numbers in trained.values())
    steps = sum(numbers["rows"] for numbers in trained.values())
    names = listed([readable(name) for name in trained])
    where = f" on {plain(evidence.run['device'], 60)}" if evidence.run.get("device") else ""
    source = f" from {plain(evidence.run['data'], 120)}" if evidence.run.get("data") else ""
    preset = f", preset {plain(evidence.run['preset'], 30)}" if evidence.run.get("preset") else ""
    stages_words, steps_words = counted(len(trained), "stage"), counted(steps, "step")
    what = f"{stages_words} trained{source}{preset}: {names}, {steps_words} in all"
    return f"{what}, {duration(seconds)} of training{where}. {_scored(evidence.scores)}{verdict_words}"


def _scored(scores: JsonObject) -> str:
    tokenizer, actions, dynamics, play = (
        mapping(scores.get(key)) for key in ("video_tokenizer", "latent_actions", "dynamics", "play")
    )
    said = []
    if (psnr := number(tokenizer.get("psnr"))) is not None:
        said.append(f"the tokenizer reaches {fixed(psnr)} dB")
    if (accuracy := number(actions.get("accuracy"))) is not None:
        floor = number(actions.get("majority_accuracy"))
        beside = "" if floor is None else f" (always the most frequent one: {share(floor)})"
        said.append(f"the latent actions name the true action {share(accuracy)} of the time{beside}")
    if (delta := number(mapping(dynamics.get("delta_psnr_t4")).get("mean"))) is not None:
        said.append(f"following them rather than random ones is worth {fixed(delta)} dB at the fourth frame")
    if (speed := number(play.get("frames_per_second"))) is not None:
        said.append(f"the world plays at {fixed(speed, 1)} frames/s")
    return f"On held-out footage {'; '.join(said)}. " if said else "It has not been scored. "
