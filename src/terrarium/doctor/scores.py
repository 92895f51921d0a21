"""The scores of a run as lines: each figure beside its floors, and what it means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from terrarium.doctor.json_files import JsonObject, mapping, number
from terrarium.doctor.language import Language
from terrarium.doctor.wording import NOTHING, figure, fixed, plain

GROUPS = ("video_tokenizer", "latent_actions", "dynamics", "play")


@dataclass(frozen=True)
class Measure:
    """One figure of `scores.json` and how to show it; its words are `scores.<group>.<key>` of a language.

    Attributes:
        group: its object in `scores.json`.
        key: its key there.
        unit: "dB", "share" (a fraction shown in percent), "nats", "ms", "frames/s", "ratio" or "" (a count).
        floors: (name, key) of the figures it must beat; a key that is a number is the floor itself.
    """

    group: str
    key: str
    unit: str
    floors: tuple[tuple[str, str | float], ...] = ()


MEASURES = (
    Measure("video_tokenizer", "psnr", "dB"),
    Measure(
        "video_tokenizer",
        "moving_psnr",
        "dB",
        (("copy_last", "copy_last_moving_psnr"), ("mean_frame", "mean_frame_moving_psnr")),
    ),
    Measure("video_tokenizer", "ssim", "ratio"),
    Measure("video_tokenizer", "codes_used", ""),
    Measure(
        "latent_actions",
        "accuracy",
        "share",
        (("majority", "majority_accuracy"), ("supervised", "supervised_accuracy")),
    ),
    Measure("latent_actions", "mutual_information", "nats", (("nothing", 0.0),)),
    Measure("latent_actions", "codes_used", ""),
    Measure("latent_actions", "shuffled_loss_ratio", "ratio", (("ignored", 1.0),)),
    Measure("dynamics", "delta_psnr_t4", "dB", (("no_control", 0.0),)),
    Measure("play", "frames_per_second", "frames/s"),
    Measure("play", "frames_per_second_without_decoding", "frames/s"),
    Measure("play", "p99_ms", "ms"),
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
        curves: "model", "copy_last", "mean_frame" -> PSNR [H].
    """

    horizons: tuple[int, ...]
    curves: dict[str, tuple[float | None, ...]]


def score_groups(scores: JsonObject, language: Language) -> list[tuple[str, list[ScoreLine]]]:
    """(title, lines) of each group, in a fixed order; groups that `scores.json` lacks are left out."""
    return [
        (
            language.stage(group),
            [
                _line(measure, mapping(scores[group]), language)
                for measure in MEASURES
                if measure.group == group
            ],
        )
        for group in GROUPS
        if group in scores
    ]


def unmeasured(scores: JsonObject) -> list[tuple[str, str, str]]:
    """(group, key, reason) of every figure that is not there; the key is "" where a group lacks them all."""
    absent = [(group, "", "") for group in GROUPS if group not in scores]
    groups = {group: mapping(scores[group]) for group in GROUPS if group in scores}
    return absent + [
        (measure.group, measure.key, why_not(groups[measure.group], measure.key))
        for measure in MEASURES
        if measure.group in groups and _mean(groups[measure.group].get(measure.key)) is None
    ]


def _line(measure: Measure, group: JsonObject, language: Language) -> ScoreLine:
    value = group.get(measure.key)
    measured = _mean(value) is not None
    label, words = (language.say("scores", measure.group, measure.key, part) for part in ("label", "words"))
    if not measured:
        reason = why_not(group, measure.key)
        words = language.say("scores", "unmeasured", reason=reason)
    floors = ((name, _floor(measure, group, key, language)) for name, key in measure.floors)
    known = tuple(
        (language.say("scores", "floors", name), floor) for name, floor in floors if floor != NOTHING
    )
    return ScoreLine(label, _shown(value, measure.unit, language), known, words, measured)


def _mean(value: Any) -> float | None:
    return number(value.get("mean") if isinstance(value, dict) else value)


def _shown(value: Any, unit: str, language: Language) -> str:
    mean = _mean(value)
    text = with_unit(mean, unit, language)
    low, high = number(mapping(value).get("low")), number(mapping(value).get("high"))
    if mean is None or low is None or high is None:
        return text
    return language.say("scores", "interval", value=text, low=fixed(low), high=fixed(high))


def _floor(measure: Measure, group: JsonObject, key: str | float, language: Language) -> str:
    if isinstance(key, str):
        return with_unit(number(group.get(key)), measure.unit, language)
    return language.amount(key, measure.unit)


def with_unit(value: float | None, unit: str, language: Language) -> str:
    """A score as text in its unit."""
    if value is None:
        return NOTHING
    if unit == "share":
        return language.share(value)
    if unit == "":
        return figure(value)
    text = fixed(value, {"dB": 2, "ratio": 3, "nats": 3}.get(unit, 1))
    return text if unit == "ratio" else language.say("units", unit, value=text)


def why_not(group: JsonObject, key: str) -> str:
    """Why a figure is null: by `<key>_reason`, by itself, or by its group; "" where nothing says."""
    inside = mapping(group.get(key)).get("reason")
    reason = group.get(f"{key}_reason") or inside or group.get("reason")
    return plain(reason).rstrip(".") if reason else ""


def rollout(scores: JsonObject) -> Rollout | None:
    """Roll-out PSNR beside its floors, or None where there is none."""
    group = mapping(scores.get("dynamics"))
    keys = {"model": "rollout_psnr", "copy_last": "copy_last_psnr", "mean_frame": "mean_frame_psnr"}
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
