"""Truth with holes, as TinyWorlds draws it beside its dynamics: filled from frames that show the place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from patients import painters, scenes
from patients.pictures import figure, masked
from terrarium.doctor.detectors import STAGE_DETECTORS, code_of
from terrarium.doctor.evidence import Picture, StageEvidence
from terrarium.doctor.finding import Severity
from terrarium.doctor.readers.pictures import examine_pictures

DETECTORS = [detector for detector in STAGE_DETECTORS if code_of(detector).startswith("picture-")]
SEEDS = range(4)  # how much is hidden differs from picture to picture: half, or nearly all


def drawn(folder: Path, *, collapsed: bool) -> tuple[Picture, ...]:
    """One picture for each seed, of a model that sees the scene or one that draws flat areas."""
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        truth = np.stack([scenes.tile_world(rng, 4, 64) for _ in range(4)])
        model = painters.flat_areas(truth, rng) if collapsed else painters.soft(truth, rng)
        figure(folder, 10_000 * (seed + 1), masked(truth, rng), model)
    return examine_pictures(folder)[0]


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Picture, ...]:
    return drawn(tmp_path_factory.mktemp("healthy"), collapsed=False)


def test_the_truth_is_found_however_much_of_it_is_hidden(healthy: tuple[Picture, ...]) -> None:
    assert len(healthy) == len(SEEDS)
    assert all(picture.pairs for picture in healthy)
    # what was filled in from another frame has moved since: far from equal, and far from unrelated
    assert all(pair.resembles > 0.4 for picture in healthy for pair in picture.pairs)


def test_a_model_that_sees_the_scene_is_left_alone(healthy: tuple[Picture, ...]) -> None:
    stage = StageEvidence("dynamics", pictures=healthy)
    findings = [finding for detector in DETECTORS for finding in detector(stage)]
    assert not [finding for finding in findings if finding.severity is not Severity.INFO]


def test_a_collapse_is_seen_beside_it(tmp_path: Path) -> None:
    stage = StageEvidence("dynamics", pictures=drawn(tmp_path, collapsed=True))
    findings = [finding for detector in DETECTORS for finding in detector(stage)]
    assert [(finding.code, finding.severity, finding.first_step) for finding in findings] == [
        ("picture-flat", Severity.CRITICAL, 10_000)
    ]
