"""The figures of the stages as cells of tables."""

from __future__ import annotations

from collections.abc import Iterator

from terrarium.doctor.evidence import StageEvidence
from terrarium.doctor.json_files import JsonObject, mapping
from terrarium.doctor.language import Language
from terrarium.doctor.wording import NOTHING, figure, plain

Row = tuple[str, tuple[str, ...]]


def health_rows(document: JsonObject, language: Language) -> Iterator[Row]:
    """(title, one cell for each stage) of every row that some stage fills."""
    columns = [
        _cells(entry["numbers"], document["checkpoints"][name], language)
        for name, entry in document["stages"].items()
    ]
    for key in columns[0] if columns else ():
        cells = tuple(column[key] for column in columns)
        if any(cell not in (NOTHING, "") for cell in cells):
            yield language.say("health", key), cells


def _cells(numbers: JsonObject, checkpoints: JsonObject, language: Language) -> dict[str, str]:
    loss = mapping(numbers.get("loss"))
    return {
        "rows": figure(numbers.get("rows")),
        "steps": _steps(numbers, language),
        "seconds": language.duration(numbers.get("seconds")),
        "first_last": f"{figure(loss['first'])} → {figure(loss['last'])}" if loss else NOTHING,
        "min_median": f"{figure(loss['min'])} / {figure(loss['median'])}" if loss else NOTHING,
        "thirds": " → ".join(figure(third) for third in numbers.get("loss_thirds") or ()) or NOTHING,
        "chance": _chance(mapping(numbers.get("chance_levels")), language),
        "not_finite": _not_finite(numbers, language),
        "entropy": _range(numbers, "action_entropy"),
        "actions": _range(numbers, "unique_actions"),
        "codebook": _shares(numbers, language),
        "discarded": figure(numbers.get("discarded_rows")),
        "steps_per_second": _change(numbers, "steps_per_second"),
        "frames_per_second": _change(numbers, "frames_per_second"),
        "remaining": _remaining(numbers, language),
        "device_use": _device(numbers, language),
        "checkpoints": language.say("page", "of", part=checkpoints["usable"], whole=checkpoints["total"]),
        "resume_from": NOTHING if checkpoints["resume_from"] is None else figure(checkpoints["resume_from"]),
    }


def _steps(numbers: JsonObject, language: Language) -> str:
    taken, planned = (numbers.get("last_step", -1) or 0) + 1, numbers.get("planned_steps")
    return language.say("page", "of", part=taken, whole=planned) if planned else figure(taken)


def _chance(levels: JsonObject, language: Language) -> str:
    if list(levels) == ["chance"]:
        return figure(levels["chance"])
    words = [f"{language.named(plain(name, 30))} {figure(level)}" for name, level in levels.items()]
    return language.say("lists", "comma").join(words) or NOTHING


def _not_finite(numbers: JsonObject, language: Language) -> str:
    count = numbers.get("not_finite_rows")
    if not count:
        return figure(count)
    return language.say("page", "from_step", count=count, step=numbers.get("first_not_finite_step"))


def _range(numbers: JsonObject, measure: str) -> str:
    spread = mapping(mapping(numbers.get("measures")).get(measure)) or mapping(numbers.get(measure))
    if not spread:
        return NOTHING
    return f"{figure(spread['min'])} – {figure(spread['max'])} ({figure(spread['last'])})"


def _shares(numbers: JsonObject, language: Language) -> str:
    spread = mapping(mapping(numbers.get("measures")).get("codebook_usage"))
    if not spread or spread["max"] > 1:
        return _range(numbers, "codebook_usage")
    return f"{language.share(spread['first'])} → {language.share(spread['last'])}"


def _change(numbers: JsonObject, speed: str) -> str:
    overall, recent = numbers.get(speed), numbers.get(f"{speed}_recent")
    return NOTHING if overall is None else f"{figure(overall)} → {figure(recent)}"


def _remaining(numbers: JsonObject, language: Language) -> str:
    steps = numbers.get("remaining_steps")
    if not steps:
        return figure(steps)
    hours = sorted(numbers[key] for key in ("eta_hours", "eta_hours_recent") if numbers.get(key) is not None)
    said = list(dict.fromkeys(language.duration(3600 * value) for value in hours))
    return language.say("health", "remaining_said", steps=steps, hours=" – ".join(said) or None)


def _device(numbers: JsonObject, language: Language) -> str:
    spread = mapping(mapping(numbers.get("measures")).get("device_use")) or mapping(numbers.get("device_use"))
    return language.share(spread["median"]) if spread else NOTHING


def has_begun(document: JsonObject, stage: str) -> bool:
    """Whether a stage has left anything, or is missed: else there is nothing of it that could be normal."""
    entry, checkpoints = document["stages"][stage], document["checkpoints"][stage]
    pictured = any(picture["stage"] == stage for picture in document["pictures"])
    return bool(entry["numbers"]["rows"] or checkpoints["total"] or pictured or entry["verdict"] != "normal")


def window_rows(numbers: JsonObject) -> Iterator[tuple[str, ...]]:
    """(steps, rows, mean loss, median loss) of each window."""
    for window in numbers.get("loss_windows") or ():
        steps = f"{window['first_step']:,} – {window['last_step']:,}"
        yield steps, f"{window['rows']:,}", figure(window["mean"]), figure(window["median"])


def measure_rows(numbers: JsonObject, language: Language) -> Iterator[tuple[str, ...]]:
    """(name, first, last, lowest, median, highest) of the own measures, learning rate and gradient."""
    known = {name: numbers.get(name) for name in ("learning_rate", "grad_norm")}
    for name, spread in (mapping(numbers.get("measures")) | known).items():
        if spread:
            keys = ("first", "last", "min", "median", "max")
            yield language.measure(name), *(figure(spread[key]) for key in keys)


def source_row(stage: StageEvidence, numbers: JsonObject, checkpoints: JsonObject) -> tuple[str, ...]:
    """(history, rows, what was lost, configuration, checkpoints, pictures) of one stage."""
    return (
        plain(stage.source) or NOTHING,
        figure(numbers.get("rows")),
        figure(numbers.get("damaged_lines") or numbers.get("damaged_rows") or 0),
        plain(stage.plan.source) or NOTHING,
        figure(checkpoints["total"]),
        figure(len(stage.pictures)),
    )
