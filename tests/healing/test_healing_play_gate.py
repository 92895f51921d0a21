"""The play gate: what a world must show, and figures that are missing."""

from __future__ import annotations

from typing import Any

import pytest

from terrarium.config import GatesConfig
from terrarium.healing import shortfalls

GOOD: dict[str, Any] = {
    "dynamics": {
        "delta_psnr_t4": {"mean": 1.0, "low": 0.5, "high": 1.4},
        "rollout_psnr": {"1": 20.0, "4": 25.0, "16": 24.0},
        "copy_last_psnr": {"1": 24.0, "4": 22.0, "16": 20.0},
    }
}


def changed(**parts: Any) -> dict[str, Any]:
    return {"dynamics": GOOD["dynamics"] | parts}


def test_a_good_world_passes_whatever_it_does_one_frame_ahead() -> None:
    assert shortfalls(GOOD, GatesConfig()) == []


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        ({}, "no roll-out was measured"),
        (changed(delta_psnr_t4={"mean": None}), "was not measured (ΔPSNR at t=4)"),
        (
            changed(delta_psnr_t4={"low": None, "reason": "one episode"}),
            "measured (ΔPSNR at t=4: one episode)",
        ),
        (
            changed(rollout_psnr={"64": None}, reason_64="only one clip"),
            "64 frames was not measured: only one clip",
        ),
        (changed(delta_psnr_t4={"mean": 0.1, "low": -0.2}), "may be as low as -0.20 dB"),
        (changed(rollout_psnr={"4": 21.0}), "4 frames ahead it dreams 21.0 dB, a copied frame has 22.0 dB"),
        (changed(rollout_psnr={"4": 25.0, "64": None}), "the roll-out of 64 frames was not measured"),
        (changed(rollout_psnr={"1": 30.0}), "no roll-out was measured"),
    ],
)
def test_what_falls_short_is_told(scores: dict[str, Any], words: str) -> None:
    assert any(words in each for each in shortfalls(scores, GatesConfig()))


def test_thresholds_are_the_configuration_s() -> None:
    assert shortfalls(GOOD, GatesConfig(least_delta_psnr=0.6))
    assert shortfalls(GOOD, GatesConfig(least_gain=3.5))
