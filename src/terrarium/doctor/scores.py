"""The scores of a run as lines: each figure beside its floors, and what it means in plain words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from terrarium.doctor.json_files import JsonObject, mapping, number
from terrarium.doctor.wording import NOTHING, figure, fixed, plain, share

GROUPS = {
    "video_tokenizer": "Video tokenizer",
    "latent_actions": "Latent actions",
    "dynamics": "Dynamics",
    "play": "Play",
}


@dataclass(frozen=True)
class Measure:
    """One figure of `scores.json` and how to show it.

    Attributes:
        group: its object in `scores.json`.
        key: its key there.
        label: its name on the page.
        words: what it means, in one line.
        unit: "dB", "share" (a fraction shown in percent), "nats", "ms", "frames/s", "ratio" or "" (a count).
        floors: (name, key) of the figures it must beat; a key that is a number is the floor itself.
    """

    group: str
    key: str
    label: str
    words: str
    unit: str
    floors: tuple[tuple[str, str | float], ...] = ()


MEASURES = (
    Measure(
        "video_tokenizer",
        "psnr",
        "Fidelity, all pixels",
        "PSNR of held-out frames after tokens and back; nothing built on these tokens can look better.",
        "dB",
    ),
    Measure(
        "video_tokenizer",
        "moving_psnr",
        "Fidelity, moving pixels",
        "The same where something moves, which is what a still copy or an average picture gets wrong.",
        "dB",
        (("copied last frame", "copy_last_moving_psnr"), ("mean frame", "mean_frame_moving_psnr")),
    ),
    Measure(
        "video_tokenizer",
        "ssim",
        "Structural similarity",
        "SSIM of the same frames: 1 is identical structure, 0 is none.",
        "ratio",
    ),
    Measure(
        "video_tokenizer",
        "codes_used",
        "Codes used",
        "How many different tokens occur in held-out frames; a handful means a collapsed codebook.",
        "",
    ),
    Measure(
        "latent_actions",
        "accuracy",
        "Action accuracy",
        "How often the best code-to-action map, fitted on training episodes, names the true action.",
        "share",
        (
            ("most frequent action", "majority_accuracy"),
            ("trained on labels (ceiling)", "supervised_accuracy"),
        ),
    ),
    Measure(
        "latent_actions",
        "mutual_information",
        "Mutual information",
        "What a code tells about the true action; 0 means nothing.",
        "nats",
        (("tells nothing", 0.0),),
    ),
    Measure(
        "latent_actions",
        "codes_used",
        "Codes used",
        "How many of the codes occur; one code means that the actions collapsed.",
        "",
    ),
    Measure(
        "latent_actions",
        "shuffled_loss_ratio",
        "Loss with shuffled codes",
        "Loss with codes of other clips over loss with the right ones; 1 means that the codes are ignored.",
        "ratio",
        (("codes ignored", 1.0),),
    ),
    Measure(
        "dynamics",
        "delta_psnr_t4",
        "Controllability (ΔPSNR at t=4)",
        "How much better the inferred actions predict the fourth frame than random ones; 0 means no control.",
        "dB",
        (("no control", 0.0),),
    ),
    Measure(
        "play",
        "frames_per_second",
        "Speed",
        "Frames of the dreamed world per second, decoded to pixels, one visitor.",
        "frames/s",
    ),
    Measure(
        "play",
        "frames_per_second_without_decoding",
        "Speed, tokens only",
        "The same without decoding tokens to pixels.",
        "frames/s",
    ),
    Measure(
        "play",
        "p99_ms",
        "Slowest of a hundred",
        "99 of 100 frames take no longer than this.",
        "ms",
    ),
)


@dataclass(frozen=True)
class ScoreLine:
    """One line of the table of scores.

    Attributes:
        label: name of the figure.
        value: the figure with its unit, or "–".
        floors: (name, figure) of what it is held against.
        words: what it means, or why it was not measured.
        measured: whether there is a figure.
    """

    label: str
    value: str
    floors: tuple[tuple[str, str], ...]
    words: str
    measured: bool


@dataclass(frozen=True)
class Rollout:
    """PSNR (dB) over the horizon; a missing figure is None.

    Attributes:
        horizons: frames ahead, rising [H].
        curves: name -> PSNR [H].
    """

    horizons: tuple[int, ...]
    curves: dict[str, tuple[float | None, ...]]


def score_groups(scores: JsonObject) -> list[tuple[str, list[ScoreLine]]]:
    """(title, lines) of each group, in a fixed order; groups that `scores.json` lacks are left out."""
    return [
        (title, [_line(measure, mapping(scores[group])) for measure in MEASURES if measure.group == group])
        for group, title in GROUPS.items()
        if group in scores
    ]


def unmeasured(scores: JsonObject) -> list[tuple[str, str, str]]:
    """(group, label, reason) of every figure that is not there, group by group."""
    absent = [
        (group, "all scores", "scores.json does not hold them") for group in GROUPS if group not in scores
    ]
    groups = {group: mapping(scores[group]) for group in GROUPS if group in scores}
    return absent + [
        (measure.group, measure.label, why_not(groups[measure.group], measure.key))
        for measure in MEASURES
        if measure.group in groups and not _value(measure, groups[measure.group].get(measure.key))[1]
    ]


def _line(measure: Measure, group: JsonObject) -> ScoreLine:
    text, measured = _value(measure, group.get(measure.key))
    floors = [(name, _floor(measure, group, key)) for name, key in measure.floors]
    words = measure.words if measured else f"Not measured: {why_not(group, measure.key)}."
    known = tuple((name, floor) for name, floor in floors if floor != NOTHING)
    return ScoreLine(measure.label, text, known, words, measured)


def _value(measure: Measure, value: Any) -> tuple[str, bool]:
    if isinstance(value, dict):
        low, mean, high = (number(value.get(key)) for key in ("low", "mean", "high"))
        if mean is None:
            return NOTHING, False
        interval = f" ({fixed(low)} to {fixed(high)})" if low is not None and high is not None else ""
        return f"{fixed(mean)} {measure.unit}{interval}", True
    single = number(value)
    return with_unit(single, measure.unit), single is not None


def _floor(measure: Measure, group: JsonObject, key: str | float) -> str:
    if isinstance(key, str):
        return with_unit(number(group.get(key)), measure.unit)
    return f"{figure(key)} {measure.unit}".removesuffix(" ratio")


def with_unit(value: float | None, unit: str) -> str:
    """A score as text in its unit."""
    if value is None:
        return NOTHING
    if unit == "share":
        return share(value)
    if unit == "":
        return figure(value)
    text = fixed(value, {"dB": 2, "ratio": 3, "nats": 3}.get(unit, 1))
    return text if unit == "ratio" else f"{text} {unit}"


def why_not(group: JsonObject, key: str) -> str:
    """Why a figure is null: by `<key>_reason`, by the figure itself, or by its group."""
    inside = mapping(group.get(key)).get("reason")
    reason = group.get(f"{key}_reason") or inside or group.get("reason")
    return plain(reason).rstrip(".") if reason else "no reason given"


def rollout(scores: JsonObject) -> Rollout | None:
    """Roll-out PSNR beside its floors, or None where there is none."""
    group = mapping(scores.get("dynamics"))
    keys = {"model": "rollout_psnr", "copied last frame": "copy_last_psnr", "mean frame": "mean_frame_psnr"}
    found = {name: _by_horizon(group.get(key)) for name, key in keys.items()}
    horizons = tuple(sorted({step for curve in found.values() for step in curve}))[:64]
    if not horizons or not found["model"]:
        return None
    return Rollout(horizons, {name: tuple(map(curve.get, horizons)) for name, curve in found.items()})


def _by_horizon(value: Any) -> dict[int, float]:
    curve: dict[int, float] = {}
    for key, item in mapping(value).items():
        psnr = number(item)
        if key.isascii() and key.isdigit() and len(key) < 7 and psnr is not None:
            curve[int(key)] = psnr
    return curve


@dataclass(frozen=True)
class ActionTable:
    """How often each code met each true action.

    Attributes:
        actions: names of the true actions [A].
        rows: one per code: counts [A] and their share of the code's uses [A].
    """

    actions: tuple[str, ...]
    rows: tuple[tuple[tuple[float, float], ...], ...]


MOST_CODES, MOST_ACTIONS = 64, 32


def action_table(scores: JsonObject) -> ActionTable | None:
    """The code-against-true-action table of `latent_actions.table`, or None where there is none to read."""
    group = mapping(scores.get("latent_actions"))
    table, names = group.get("table"), group.get("action_names")
    if not isinstance(table, list) or not table or not all(isinstance(row, list) for row in table):
        return None
    width = min(len(table[0]), MOST_ACTIONS)
    counts = [[number(cell) for cell in row[:width]] for row in table[:MOST_CODES]]
    if not width or any(len(row) != width or any(c is None or c < 0 for c in row) for row in counts):
        return None
    known = names if isinstance(names, list) and len(names) >= width else range(width)
    rows = tuple(_shares([cell or 0.0 for cell in row]) for row in counts)
    return ActionTable(tuple(plain(name, 24) for name in known[:width]), rows)


def _shares(row: list[float]) -> tuple[tuple[float, float], ...]:
    total = sum(row)
    return tuple((count, count / total if total else 0.0) for count in row)
