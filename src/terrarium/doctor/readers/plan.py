"""What a training was told to do, read from whatever configuration there is."""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeAlias

from terrarium.doctor.evidence import Plan
from terrarium.doctor.json_files import JsonObject, mapping, number
from terrarium.doctor.readers.plan_keys import BORROWED, KEYS, LEVELS, SCHEDULES, WARMUP_SHARES
from terrarium.doctor.readers.stage_names import stage_of_folder

Source: TypeAlias = tuple[str, JsonObject]

DEEPEST, MOST_SETTINGS = 6, 5000
LARGEST_COUNT = 10**12

_ELSEWHERE = re.compile(
    r"(eval|valid|test|sampl|infer|generat|decod|diffusion|play|data|ema|log|wandb|checkpoint)\w*"
)


@dataclass(frozen=True)
class _Settings:
    """Key -> value: in the stage's own section, outside all sections of stages, and in other stages'."""

    own: JsonObject
    common: JsonObject
    others: dict[str, JsonObject]

    def first(self, keys: Iterable[str], valid: Callable[[Any], Any], borrow: str | None = None) -> Any:
        """The first value that is valid, or None."""
        for place in (self.own, self.common, self.others.get(borrow or "", {})):
            for key in keys:
                value = valid(place[key]) if key in place else None
                if value is not None:
                    return value
        return None


def plan_of(stage: str, sources: Sequence[Source]) -> Plan:
    """What the given configurations say about one stage.

    Args:
        stage: its name; keys in a section of that name, or beginning with it, are its own, and those of other
            stages are not.
        sources: (file, configuration), the surest first: what one does not say, the next may.
    """
    plan = Plan()
    used: list[str] = []
    for name, config in sources:
        said = _plan(stage, config)
        new = {
            field.name: getattr(said, field.name)
            for field in fields(Plan)
            if _says(said, field.name) and not _says(plan, field.name)
        }
        if new:
            used.append(name)
            plan = replace(plan, **new)
    if stage == "dynamics" and plan.codes and not plan.chance_levels:
        plan = replace(plan, chance_levels={f"ln {plan.codes}": math.log(plan.codes)})
    schedule_steps = plan.schedule_steps or plan.steps
    return replace(plan, schedule_steps=schedule_steps, source=", ".join(dict.fromkeys(used)))


def _says(plan: Plan, name: str) -> bool:
    return getattr(plan, name) not in (None, {}, "")


def _plan(stage: str, config: JsonObject) -> Plan:
    settings = _settings(stage, config)
    borrowed = BORROWED.get(stage, {})
    steps = settings.first(KEYS["steps"], _count)
    actions = settings.first(KEYS["actions"], _count, borrowed.get("actions")) or _bits(stage, settings)
    codes = _codes(stage, settings, actions, borrowed.get("codes"))
    if stage == "latent_actions":
        actions = actions or codes
    return Plan(
        steps=steps,
        learning_rate=settings.first(KEYS["learning_rate"], _rate),
        schedule=settings.first(KEYS["schedule"], _schedule) or _implied_schedule(settings),
        schedule_steps=settings.first(KEYS["schedule_steps"], _count),
        warmup_steps=_warmup(settings, steps),
        gradient_accumulation_steps=settings.first(KEYS["gradient_accumulation_steps"], _count),
        codes=codes,
        actions=actions,
        chance_levels=chance_levels(config),
        several_writers=settings.first(KEYS["several_writers"], _count),
    )


def chance_levels(config: JsonObject) -> dict[str, float]:
    """Losses that guessing reaches, by name: the stage declares `chance_level`, a number or an object."""
    declared = config.get("chance_level")
    named = declared.items() if isinstance(declared, dict) else [("chance", declared)]
    levels = {str(name): number(value) for name, value in list(named)[:4]}
    return {name: value for name, value in levels.items() if value is not None}


def _settings(stage: str, config: JsonObject) -> _Settings:
    own: JsonObject = {}
    common: JsonObject = {}
    others: dict[str, JsonObject] = {}
    for path, value in _leaves(config):
        *sections, key = path
        named = [name for name in map(stage_of_folder, [*sections, key]) if name]
        mine = stage in (*sections, *named)
        place = own if mine else others.setdefault(named[0], {}) if named else common
        place.setdefault(_bare(key, stage if mine else named[0] if named else ""), value)
    return _Settings(own, common, others)


def _leaves(config: JsonObject) -> Iterator[tuple[tuple[str, ...], Any]]:
    """(keys that lead there, value), the shallowest first; sections about something else are left out."""
    waiting: deque[tuple[tuple[str, ...], JsonObject]] = deque([((), config)])
    count = 0
    while waiting:
        path, section = waiting.popleft()
        for key, value in section.items():
            count += 1
            if count > MOST_SETTINGS:
                return
            name = re.sub(r"\W+", "_", str(key)[:80]).strip("_").lower()
            if isinstance(value, dict) and not (_ELSEWHERE.fullmatch(name) or len(path) >= DEEPEST):
                waiting.append(((*path, name), value))
            if not isinstance(value, dict) or name in KEYS["schedule"]:
                yield (*path, name), value


def _bare(key: str, stage: str) -> str:
    """`dynamics_learning_rate` as `learning_rate`."""
    if not stage or stage_of_folder(key) != stage:
        return key
    known = {name for names in KEYS.values() for name in names}
    parts = key.split("_")
    return next((rest for place in range(1, len(parts)) if (rest := "_".join(parts[place:])) in known), key)


def _codes(stage: str, settings: _Settings, actions: int | None, borrow: str | None) -> int | None:
    if stage == "latent_actions":  # what stands in no section is the tokenizer's
        settings = _Settings(settings.own, {}, {})
    said: int | None = settings.first(KEYS["codes"], _count, borrow)
    said = said or settings.first(LEVELS, _product, borrow)
    bins: int | None = settings.first(["num_bins"], _count, borrow)  # TinyWorlds: so many levels ...
    size: int | None = settings.first(["latent_dim"], _count, borrow)  # ... in so many dimensions
    if said is None and bins and size and size * math.log(bins) <= math.log(LARGEST_COUNT):
        said = bins**size
    return said or (actions if stage == "latent_actions" else None)


def _bits(stage: str, settings: _Settings) -> int | None:
    bits = settings.first(["bits"], _count, "latent_actions") if stage != "video_tokenizer" else None
    return 2**bits if bits and bits <= 16 else None


def _warmup(settings: _Settings, steps: int | None) -> int | None:
    said: int | None = settings.first(KEYS["warmup_steps"], _warmup_count)
    if said is None and steps:
        share = settings.first(
            WARMUP_SHARES, lambda value: x if (x := _number(value)) and 0 < x < 1 else None
        )
        said = None if share is None else round(share * steps)
    return said


def _implied_schedule(settings: _Settings) -> str | None:
    """PyTorch's cosine scheduler tells itself by `T_max`, our own warm-up, stable, decay by `cooldown`."""
    if settings.first(["t_max"], _count):
        return "cosine"
    return "wsd" if settings.first(["cooldown"], _number) is not None else None


def _number(value: Any) -> float | None:
    """A number, or the text of one: YAML reads 1e-2 as text."""
    if isinstance(value, str):
        try:
            value = float(value.strip()[:40].replace("_", ""))
        except ValueError:
            return None
    return number(value)


def _count(value: Any) -> int | None:
    size = _number(value)
    return int(size) if size is not None and 1 <= size <= LARGEST_COUNT and size.is_integer() else None


def _warmup_count(value: Any) -> int | None:
    return 0 if _number(value) == 0 else _count(value)


def _rate(value: Any) -> float | None:
    rate = _number(value)
    return rate if rate is not None and rate >= 0 else None


def _product(value: Any) -> int | None:
    """Codes of finite scalar quantisation: the product of its levels."""
    counts = [_count(level) for level in value[:16]] if isinstance(value, list | tuple) else []
    known = [count for count in counts if count]
    return _count(math.prod(known)) if known and len(known) == len(counts) else None


def _schedule(value: Any) -> str | None:
    named = [mapping(value).get(key) for key in ("name", "type", "_target_", "kind")] if value else []
    text = next((name for name in named if isinstance(name, str)), value)
    if not isinstance(text, str) or not text.strip():
        return None
    plain = re.sub(r"[\W_]+", "", text.lower()[:80])
    known = (name for name in SCHEDULES if name.replace("_", "") in plain)
    return next(
        known, "cosine_with_restarts" if "restart" in plain else re.sub(r"\s+", " ", text.lower())[:40]
    )
