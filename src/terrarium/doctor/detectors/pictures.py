"""Pictures: has what the model draws collapsed, compared with the truth beside it, and does it last?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from terrarium.doctor.collapse import Collapse, is_judged, judge
from terrarium.doctor.evidence import Picture, StageEvidence
from terrarium.doctor.finding import Finding, Number, Severity

EARLY_SHARE = 0.03  # of the steps seen: what an untrained model draws is no collapse
EARLY_OF_PLAN, EARLY_STEPS = 0.02, 1000
REPEATED = 2  # pictures
ACTIONS = ("resume-before-onset", "redraw-pictures", "look-again")


def picture_flat(stage: StageEvidence) -> Iterator[Finding]:
    """The model draws solid colour.

    Looks for: frames without contrast, or of which 95 % and more are areas of one colour, where the truth
    in the same picture has structure. At least half of a picture's clips, in the latest pictures.

    Why it matters: every token is the same, or one of a few. Nothing of the world is left to play in,
    whatever the loss says.

    What to do: resume from before the first such picture, with the cause removed: mostly the learning rate,
    or a collapsed codebook. Draw the pictures again from a checkpoint that is whole before you trust them.

    Silent when: the truth is as plain itself (black frames, fades, title screens), only the first pictures
    of a training are flat, or later ones have recovered.
    """
    yield from _lasting(stage, "picture-flat")


def picture_blocks(stage: StageEvidence) -> Iterator[Finding]:
    """The model draws flat blocks.

    Looks for: frames that patches on their lattice explain far better than patches half a step aside, at 4
    to 32 pixels, and better than they explain the truth. At least half of a picture's clips, in the latest
    pictures.

    Why it matters: the decoder paints one colour a token, or the tokens have nothing to do with each other.
    Edges and things that move are gone.

    What to do: resume from before the first such picture, with the cause removed. If the tokenizer's own
    pictures show blocks too, train the tokenizer first.

    Silent when: the truth is made of such blocks too, the joints between patches only show faintly, or
    later pictures have recovered.
    """
    yield from _lasting(stage, "picture-blocks")


def picture_stripes(stage: StageEvidence) -> Iterator[Finding]:
    """The model draws stripes.

    Looks for: frames of which one value per row, or one per column, explains at least 90 % of the variance,
    with sharp edges, and clearly more than in the truth. At least half of a picture's clips, in the latest
    pictures.

    Why it matters: the model tells places apart along one direction only. It has lost the scene, or never
    attended to it.

    What to do: resume from before the first such picture, with the cause removed; check the positional
    encoding if all pictures since the start have stripes.

    Silent when: the truth has the stripes too (menus, horizons, fences), or later pictures have recovered.
    """
    yield from _lasting(stage, "picture-stripes")


def picture_tiles(stage: StageEvidence) -> Iterator[Finding]:
    """The model draws one tile again and again.

    Looks for: frames that repeat almost exactly along their rows or columns, with a correlation that rises
    by 0.7 and more from its lowest, where the truth does not. At least half of a picture's clips, in the
    latest pictures.

    Why it matters: every token is the same one. The model answers all situations with its most frequent
    token.

    What to do: resume from before the first such picture, with the cause removed: mostly the learning rate,
    or a codebook of which one code is left.

    Silent when: the truth repeats as well (floors, brick walls, tile maps), or later pictures have
    recovered.
    """
    yield from _lasting(stage, "picture-tiles")


def picture_noise(stage: StageEvidence) -> Iterator[Finding]:
    """The model draws noise.

    Looks for: frames with far more of their energy in the finest details than the truth, or busier than
    the truth while nothing in them is where it is there. At least half of a picture's clips, in
    the latest pictures.

    Why it matters: the tokens might as well be random. The model knows nothing of what it predicts.

    What to do: resume from before the first such picture, with the cause removed. Check that the pictures
    are drawn from trained weights: an empty or damaged checkpoint draws exactly this.

    Silent when: the truth is noise itself (rain, static), the grain is weak and the scene is there, only
    the first pictures of a training are noise, or later ones have recovered.
    """
    yield from _lasting(stage, "picture-noise")


def picture_blurred(stage: StageEvidence) -> Iterator[Finding]:
    """The model draws blur.

    Looks for: an effective rank below about a sixth of the truth's, without fine detail, and so unlike the
    truth that only light and dark areas are left. Pictures that are smooth but keep the scene's structure
    are only information.

    Why it matters: a model that does not know what comes next draws the average of all it thinks possible.
    What moves vanishes first.

    What to do: train on if the loss still falls. Else give the stage more capacity or more codes, or weight
    what moves; look at the stages before it first.

    Silent when: only a little sharpness is missing, the truth itself is out of focus, or the loss of detail
    is gone in later pictures.
    """
    yield from _lasting(stage, "picture-blurred")


def picture_frozen(stage: StageEvidence) -> Iterator[Finding]:
    """The model repeats one frame while the truth moves.

    Looks for: clips in which neighbouring frames of the model differ by less than 15 % of what they differ
    in the truth, in three quarters of the clips that move, where at least half of them do.

    Why it matters: the model copies its context. Such a loss can look good, since most pixels stay as they
    are, but the world does not answer to actions.

    What to do: weight what moves, predict more than one frame ahead, and check that actions reach the
    model: the loss must get worse with shuffled actions.

    Silent when: little moves in the truth (menus, pauses, title screens), the frames have collapsed in
    another way, or later pictures move.
    """
    yield from _lasting(stage, "picture-frozen")


@dataclass(frozen=True)
class Seen:
    """A picture and what is wrong with it."""

    picture: Picture
    collapse: Collapse | None


def _lasting(stage: StageEvidence, code: str) -> Iterator[Finding]:
    """One finding for each subject whose latest pictures have collapsed, some of them in this way."""
    early = _early_steps(stage)
    for what in dict.fromkeys(picture.what for picture in stage.pictures):
        seen = [
            Seen(picture, judge(picture))
            for picture in stage.pictures
            if picture.what == what and picture.step > early and is_judged(picture)
        ]
        lasting = _tail(seen)
        counts = Counter(one.collapse.code for one in reversed(lasting) if one.collapse)
        leads = bool(counts) and counts.most_common(1)[0][0] == code
        if leads or counts[code] >= REPEATED:
            yield _finding(
                stage, [one for one in lasting if one.collapse and one.collapse.code == code], lasting, leads
            )


def _early_steps(stage: StageEvidence) -> float:
    """Up to this step a model is untrained."""
    steps = stage.kept.steps
    furthest = max([*(picture.step for picture in stage.pictures), *steps[-1:]], default=0)
    planned = stage.plan.steps or 0
    return float(max(EARLY_SHARE * furthest, min(EARLY_OF_PLAN * planned, EARLY_STEPS)))


def _tail(seen: list[Seen]) -> list[Seen]:
    """The latest pictures without a good one among them; where there are none, the last if it is smooth."""
    tail: list[Seen] = []
    for one in reversed(seen):
        if one.collapse is None or not one.collapse.grave:
            break
        tail.insert(0, one)
    return tail or [one for one in seen[-1:] if one.collapse]


def _finding(stage: StageEvidence, own: list[Seen], lasting: list[Seen], leads: bool) -> Finding:
    last = own[-1]
    collapse = last.collapse
    assert collapse is not None  # noqa: S101 - for the type checker
    first = (lasting if leads else own)[0].picture
    name = last.picture.path.name
    rank = Number(name, "effective rank", collapse.rank, None)
    truth_rank = Number(name, "effective rank of the truth", collapse.truth_rank, None)
    decisive = Number(name, collapse.measure, collapse.number, collapse.threshold, UNITS[collapse.measure])
    severity = _severity(collapse, len(lasting))
    return Finding(
        collapse.code,
        severity,
        stage.name,
        first.step,
        last.picture.step,
        (decisive, *([] if collapse.measure == "effective rank" else [rank]), truth_rank),
        {
            "what": last.picture.what,
            "step": last.picture.step,
            "first_step": first.step,
            "pictures": len(lasting),
            "rank": round(collapse.rank, 1),
            "truth_rank": round(collapse.truth_rank, 1),
            "file": name,
        },
        confidence=0.6 if severity is Severity.INFO else 0.95 if len(lasting) >= REPEATED else 0.8,
        actions=() if severity is Severity.INFO else ACTIONS,
    )


def _severity(collapse: Collapse, pictures: int) -> Severity:
    if not collapse.grave:
        return Severity.INFO
    if collapse.code == "picture-blurred":
        return Severity.WATCH
    return Severity.CRITICAL if pictures >= REPEATED or collapse.share == 1 else Severity.WATCH


UNITS = {
    "contrast": "grey levels",
    "plain share": "ratio",
    "striped share": "ratio",
    "repetition": "ratio",
    "blockiness": "ratio",
    "fine share": "ratio",
    "effective rank": "",
    "motion": "grey levels",
}
