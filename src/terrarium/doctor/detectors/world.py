"""The finished world, judged by its scores: healthy losses don't make a world playable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from terrarium.doctor.evidence import Evidence
from terrarium.doctor.finding import Finding, Number, Severity
from terrarium.doctor.json_files import mapping, number

LEAST_HORIZON = 2  # one frame ahead the tokenizer's own blur may cost more than the copied frame's error
LEAST_CLIPS = 4  # that move: fewer say nothing
SCORES = "scores.json"


def world_falls_short(evidence: Evidence) -> Iterator[Finding]:
    """The finished world does not beat its baselines.

    Looks for: scores on held-out footage by which dreams of two frames ahead or more are no better than a
    copy of the last frame shown, over at least four clips that move; or by which the right actions instead
    of random ones may gain nothing (the interval of ΔPSNR at t=4 reaches zero).

    Why it matters: every loss may fall as it should and the world still be blurred, or deaf to its player.
    Whoever plays it sees that at once; nobody sees it in a loss.

    What to do: train longer, or on more footage, and score again. Then find which stage holds it back: dreams
    can't be sharper than the tokenizer's pictures, nor follow actions better than the action codes tell them
    apart.

    Silent when: the run was not scored, these figures could not be measured, or there were too few clips.
    """
    dynamics = mapping(evidence.scores.get("dynamics"))
    values, numbers = _beaten(dynamics)
    low = number(mapping(dynamics.get("delta_psnr_t4")).get("low"))
    if low is not None and low <= 0:
        values["delta_low"] = low
        numbers.append(Number(SCORES, "ΔPSNR at t=4, lower end of its interval", low, 0.0, "dB"))
    if numbers:
        yield Finding(
            "world-falls-short",
            Severity.WATCH,
            "dynamics",
            None,
            None,
            tuple(numbers),
            values,
            confidence=0.9,
            actions=("train-longer",),
        )


def _beaten(dynamics: Mapping[str, object]) -> tuple[dict[str, float | str], list[Number]]:
    """The nearest horizon at which a copied frame is as good as the dream, and at how many that is so."""
    dreams, copies = mapping(dynamics.get("rollout_psnr")), mapping(dynamics.get("copy_last_psnr"))
    clips = mapping(dynamics.get("moving_clips"))
    found: list[tuple[int, float, float]] = []
    for key in dreams:
        dreamed, copied = number(dreams[key]), number(copies.get(key))
        enough = (number(clips.get(key)) or 0) >= LEAST_CLIPS
        if (
            key.isdecimal()
            and int(key) >= LEAST_HORIZON
            and dreamed is not None
            and copied is not None
            and enough
        ):
            found.append((int(key), dreamed, copied))
    short = sorted(each for each in found if each[1] <= each[2])
    if not short:
        return {}, []
    horizon, dreamed, copied = short[0]
    values: dict[str, float | str] = {"horizon": horizon, "dreamed": dreamed, "copied": copied}
    values |= {"short": len(short), "measured": len(found)}
    return values, [Number(SCORES, f"roll-out after {horizon} frames", dreamed, copied, "dB")]
