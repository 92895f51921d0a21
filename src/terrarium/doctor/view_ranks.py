"""Processes that trained together, put into words: a line about all of them and a row for each."""

from __future__ import annotations

from dataclasses import dataclass

from terrarium.doctor.json_files import JsonObject
from terrarium.doctor.language import Language
from terrarium.doctor.wording import NOTHING, figure, fixed

MOST_SHOWN = 16


@dataclass(frozen=True)
class RanksView:
    """The processes of a stage.

    Attributes:
        words: how many there are, over how many steps, and what the figures mean.
        rows: (rank, ready, waiting, speed alone, same clips, clock) of each that is shown.
    """

    words: str
    rows: tuple[tuple[str, ...], ...]


def ranks_view(figures: JsonObject | None, language: Language) -> RanksView | None:
    """Put the figures of the processes into words; None where one process trained alone."""
    if figures is None:
        return None
    ranks = figures["by_rank"]
    shown = _shown(ranks)
    words = [
        language.say(
            "ranks", "aside", count=figures["count"], steps=figures["steps"], seconds=_seconds(figures)
        )
    ]
    if figures["changes"]:
        words.append(language.say("ranks", "changed", changes=figures["changes"]))
    if len(shown) < len(ranks):
        words.append(language.say("ranks", "more", shown=len(shown), count=len(ranks)))
    return RanksView(language.joined(words), tuple(_row(rank, figures, language) for rank in shown))


def _seconds(figures: JsonObject) -> str:
    return figure(figures["step_seconds"], 3)


def _shown(ranks: list[JsonObject]) -> list[JsonObject]:
    """All of them; of many those that wait least, whom the others wait for, and those that wait most."""
    if len(ranks) <= MOST_SHOWN:
        return ranks
    by_waiting = sorted(ranks, key=lambda rank: (rank["waiting_share"] is None, rank["waiting_share"]))
    half = MOST_SHOWN // 2
    return sorted([*by_waiting[:half], *by_waiting[-half:]], key=lambda rank: int(rank["rank"]))


def _row(rank: JsonObject, figures: JsonObject, language: Language) -> tuple[str, ...]:
    clock = rank["clock_ahead_seconds"]
    return (
        str(rank["rank"]),
        figure(rank["ready_seconds"], 3),
        language.share(rank["waiting_share"]),
        figure(rank["steps_per_second_alone"], 3),
        language.say("page", "of", part=rank["same_clips_steps"], whole=figures["steps"]),
        NOTHING if clock is None else fixed(clock, 3).replace("-", "−"),
    )
