"""The last gate: whether the finished world can be played, by its scores on held-out footage."""

from __future__ import annotations

from collections.abc import Mapping

from terrarium.config import GatesConfig

AT_LEAST_HORIZON = 2  # one frame ahead the tokenizer's own blur may cost more than the copied frame's error


def shortfalls(scores: Mapping[str, object], asked: GatesConfig) -> list[str]:
    """In what a world falls short of its configuration, in words; empty where it passes.

    A figure that could not be measured is a shortfall: nobody saw that it is reached.

    Args:
        scores: as `evaluate` gives them.
        asked: the thresholds.
    """
    dynamics = scores.get("dynamics")
    dynamics = dynamics if isinstance(dynamics, Mapping) else {}
    delta = _part(dynamics, "delta_psnr_t4")
    low = _number(delta.get("low"))
    found = []
    if low is None:
        found.append(f"whether actions matter was not measured (ΔPSNR at t=4{_why(delta, 'reason')})")
    elif low <= asked.least_delta_psnr:
        found.append(f"actions hardly matter: ΔPSNR at t=4 may be as low as {low:.2f} dB")
    model, floor = _part(dynamics, "rollout_psnr"), _part(dynamics, "copy_last_psnr")
    horizons = sorted((key for key in model if int(key) >= AT_LEAST_HORIZON), key=int)
    for horizon in horizons:
        dreamed, copied = _number(model[horizon]), _number(floor.get(horizon))
        if dreamed is None or copied is None:
            found.append(
                f"the roll-out of {horizon} frames was not measured{_why(dynamics, f'reason_{horizon}')}"
            )
        elif dreamed - copied <= asked.least_gain:
            found.append(
                f"{horizon} frames ahead it dreams {dreamed:.1f} dB, a copied frame has {copied:.1f} dB"
            )
    return found if horizons else [*found, "no roll-out was measured"]


def _part(tree: Mapping[str, object], key: str) -> Mapping[str, object]:
    part = tree.get(key)
    return part if isinstance(part, Mapping) else {}


def _why(tree: Mapping[str, object], key: str) -> str:
    """The reason that scoring gave, where it gave one."""
    return f": {tree[key]}" if isinstance(tree.get(key), str) else ""


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
