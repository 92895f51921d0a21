"""Whether a model's picture has collapsed, and how, always compared with the truth in the same picture.

A dark scene, a title or a still game shows little, and so does its truth: only what the model lost counts.
Thresholds were chosen on one half of the seeds of `benchmarks/pictures.py`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from statistics import median

from terrarium.doctor.evidence import Pair, Picture

FAINT = 4.0  # grey levels of contrast below which the truth has nothing to lose
MOVING = 1.0  # grey levels between frames above which the truth moves


@dataclass(frozen=True)
class Collapse:
    """How one clip, or one whole picture, has collapsed.

    Attributes:
        code: code of the finding.
        measure: name of the decisive measure.
        number: its value.
        threshold: the threshold it passed, which depends on the truth.
        rank: effective rank of the model's frames.
        truth_rank: effective rank of the truth.
        grave: whether what is left is useless; a smooth picture that keeps its structure is not.
        share: of the picture's clips that collapsed in any way, 0 to 1.
    """

    code: str
    measure: str
    number: float
    threshold: float
    rank: float
    truth_rank: float
    grave: bool = True
    share: float = 1.0


def judge(picture: Picture) -> Collapse | None:
    """How a picture has collapsed, if at least half of its clips have; one answer per picture."""
    shown = [pair for pair in picture.pairs if _says_something(pair)]
    found = [collapse for collapse in map(judge_pair, shown) if collapse is not None]
    blurred = [collapse for collapse in found if collapse.code == "picture-blurred"]
    frozen = [collapse for collapse in found if collapse.code == "picture-frozen"]
    lost = [collapse for collapse in found if collapse not in blurred and collapse not in frozen]
    for kind in (lost, [one for one in blurred if one.grave]):
        if kind and 2 * len(kind) >= len(shown):
            return _together(kind, len(kind) / len(shown))
    moving = sum(map(_moves, shown))
    if frozen and 4 * len(frozen) >= 3 * moving >= 1.5 * len(shown):
        return _together(frozen, len(frozen) / moving)
    if blurred and 2 * len(blurred) >= len(shown):
        return replace(_together(blurred, len(blurred) / len(shown)), grave=False)
    return None


def is_judged(picture: Picture) -> bool:
    """Whether there is enough in the truth to tell anything."""
    return any(_says_something(pair) for pair in picture.pairs)


def judge_pair(pair: Pair) -> Collapse | None:
    """How one clip has collapsed: the first rule that fits, the most specific ones first."""
    for code, rule in RULES:
        for measure, number, threshold in rule(pair):
            grave = rule is not _smooth
            return Collapse(code, measure, number, threshold, pair.model.rank, pair.truth.rank, grave)
    return None


def _together(found: list[Collapse], share: float) -> Collapse:
    code = Counter(collapse.code for collapse in found).most_common(1)[0][0]
    same = [collapse for collapse in found if collapse.code == code]
    measure = Counter(collapse.measure for collapse in same).most_common(1)[0][0]
    same = [collapse for collapse in same if collapse.measure == measure]
    return Collapse(
        code,
        measure,
        median(collapse.number for collapse in same),
        median(collapse.threshold for collapse in same),
        median(collapse.rank for collapse in same),
        median(collapse.truth_rank for collapse in same),
        same[0].grave,
        share,
    )


def _says_something(pair: Pair) -> bool:
    return pair.truth.contrast >= FAINT or _invented(pair)


def _invented(pair: Pair) -> bool:
    """Whether the model paints something strong where the truth shows nothing."""
    return pair.model.contrast >= 15 and pair.model.contrast >= 4 * pair.truth.contrast


def _moves(pair: Pair) -> bool:
    motion = pair.truth.motion
    return math.isfinite(motion) and motion >= max(MOVING, 0.06 * pair.truth.contrast)


Decisive = Iterator[tuple[str, float, float]]
"""The measure, its value and its threshold if a rule holds; nothing if it doesn't."""


def _uniform(pair: Pair) -> Decisive:
    most = 0.08 * pair.truth.contrast
    if pair.truth.contrast >= FAINT and (pair.model.contrast < most or pair.model.plain == 1):
        yield "contrast", pair.model.contrast, most


def _plain(pair: Pair) -> Decisive:
    truth, model = pair.truth, pair.model
    least = max(0.95, 1 - 0.3 * (1 - truth.plain))
    poorer = model.rank <= 0.6 * truth.rank or _invented(pair)
    if truth.contrast >= FAINT and model.plain >= least and poorer and _has_edges(pair):
        yield "plain share", model.plain, least


def _stripes(pair: Pair) -> Decisive:
    truth, model = pair.truth, pair.model
    least = max(0.9, 1 - 0.3 * (1 - truth.striped))
    poorer = model.rank <= 0.3 * truth.rank or _invented(pair)
    if model.striped >= least and poorer and _has_edges(pair):
        yield "striped share", model.striped, least


def _tiles(pair: Pair) -> Decisive:
    truth, model = pair.truth, pair.model
    least = max(0.7, truth.repeats + 0.3)
    if model.repeats >= least and (model.rank <= 0.75 * truth.rank or _invented(pair)):
        yield "repetition", model.repeats, least


def _blocks(pair: Pair) -> Decisive:
    least = max(0.7, pair.truth.blocky + 0.3)
    if pair.model.blocky >= least:
        yield "blockiness", pair.model.blocky, least


def _noise(pair: Pair) -> Decisive:
    truth, model = pair.truth, pair.model
    least = min(max(0.35, 1.6 * truth.fine), 0.65)
    alike = pair.resembles > 0.6  # not where it is NaN
    if model.fine >= least and not alike and (model.rank >= truth.rank or _invented(pair)):
        yield "fine share", model.fine, least


def _disorder(pair: Pair) -> Decisive:
    """Pieces of the world in the wrong places: more goes on than in the truth, but nothing matches it."""
    truth, model = pair.truth, pair.model
    least = 1.15 * truth.rank
    busier = model.rank >= least and model.fine >= 1.1 * truth.fine and model.blocky < 0.9
    if truth.contrast >= FAINT and busier and pair.resembles <= 0.3:
        yield "effective rank", model.rank, least


def _blurred(pair: Pair) -> Decisive:
    """Blurred beyond recognition; `_smooth` is the harmless kind."""
    truth, model = pair.truth, pair.model
    most = max(0.15 * truth.rank, min(0.35 * truth.rank, 3.0))
    alike = pair.resembles > 0.85
    if truth.contrast >= FAINT and model.rank <= most and model.fine <= 0.1 * truth.fine and not alike:
        yield "effective rank", model.rank, most


def _smooth(pair: Pair) -> Decisive:
    truth, model = pair.truth, pair.model
    most = 0.05 * truth.fine
    if truth.contrast >= FAINT and model.rank <= 0.5 * truth.rank and model.fine <= most:
        yield "fine share", model.fine, most


def _frozen(pair: Pair) -> Decisive:
    most = 0.15 * pair.truth.motion
    if _moves(pair) and pair.model.motion <= most:
        yield "motion", pair.model.motion, most


def _has_edges(pair: Pair) -> bool:
    """Whether the model drew sharp edges, which blur never has."""
    return pair.model.fine >= min(0.15 * pair.truth.fine, 0.015)


RULES: tuple[tuple[str, Callable[[Pair], Decisive]], ...] = (
    ("picture-flat", _uniform),
    ("picture-stripes", _stripes),
    ("picture-flat", _plain),
    ("picture-tiles", _tiles),
    ("picture-noise", _noise),
    ("picture-noise", _disorder),
    ("picture-blocks", _blocks),
    ("picture-blurred", _blurred),
    ("picture-frozen", _frozen),
    ("picture-blurred", _smooth),
)
