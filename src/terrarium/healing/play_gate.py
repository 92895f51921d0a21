"""The last gate: whether the finished world is worth playing, by its scores on held-out footage."""

from __future__ import annotations

from collections.abc import Mapping

from terrarium.config import GatesConfig
from terrarium.doctor.detectors.world import LEAST_HORIZON
from terrarium.doctor.json_files import mapping, number


def shortfalls(scores: Mapping[str, object], asked: GatesConfig) -> list[str]:
    """Where a world falls short of what its configuration asks for, in words; empty if it passes.

    A figure that could not be measured counts as a shortfall.

    Args:
        scores: what `evaluate` returned.
        asked: the thresholds.
    """
    dynamics = mapping(scores.get("dynamics"))
    delta = mapping(dynamics.get("delta_psnr_t4"))
    low = number(delta.get("low"))
    found = []
    if low is None:
        found.append(f"whether actions matter was not measured (ΔPSNR at t=4{_why(delta, 'reason')})")
    elif low <= asked.least_delta_psnr:
        found.append(f"actions hardly matter: ΔPSNR at t=4 may be as low as {low:.2f} dB")
    model, floor = mapping(dynamics.get("rollout_psnr")), mapping(dynamics.get("copy_last_psnr"))
    horizons = sorted((key for key in model if int(key) >= LEAST_HORIZON), key=int)
    for horizon in horizons:
        dreamed, copied = number(model[horizon]), number(floor.get(horizon))
        if dreamed is None or copied is None:
            found.append(
                f"the roll-out of {horizon} frames was not measured{_why(dynamics, f'reason_{horizon}')}"
            )
        elif dreamed - copied <= asked.least_gain:
            found.append(
                f"{horizon} frames ahead it dreams {dreamed:.1f} dB, a copied frame has {copied:.1f} dB"
            )
    return found if horizons else [*found, "no roll-out was measured"]


def _why(tree: Mapping[str, object], key: str) -> str:
    """The reason that scoring gave, if any."""
    return f": {tree[key]}" if isinstance(tree.get(key), str) else ""
