"""What is known of the states that training saved, or wanted to save, as plain values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Checkpoint:
    """What is known of one checkpoint.

    Attributes:
        step: in its name, else in its content, else -1.
        name: of its folder or file.
        level: highest level that it passed (L0-L3), -1 if none.
        judged_to: the level that it was judged up to.
        whole: whether it passed all of them; only then is it usable.
        flaw: code of what is wrong, a key of `[flaw]` in the language files: "empty", "damaged",
            "not-finite", "all-zero", "wrong-step", "incomplete", "foreign", "hostile", "too-large",
            "unreadable"; "" where nothing is.
        detail: the file and the place, from files: to be escaped when shown.
        bytes: of all its files.
    """

    step: int
    name: str
    level: int
    judged_to: int
    whole: bool
    flaw: str = ""
    detail: str = ""
    bytes: int = 0


@dataclass(frozen=True)
class Refused:
    """A state that training wanted to save and that was refused: it is not a checkpoint.

    Attributes:
        source: its folder, relative to what was examined.
        step: of the checkpoint that it was to become.
        process: that wanted to save it; None where the name does not say.
        flaw: code of what is wrong with it, a key of `[flaw]`: "empty", "not-finite"; "" where it is
            something else, such as tensors of another shape.
        detail: files or tensors, from files: to be escaped when shown.
        keys: tensors in all its files; None where they can't be counted.
        in_shards: whether several processes wrote parts of it, rather than one the whole.
    """

    source: str
    step: int
    process: int | None = None
    flaw: str = ""
    detail: str = ""
    keys: int | None = None
    in_shards: bool = False


@dataclass(frozen=True)
class Unmoved:
    """Parameters that are, bit for bit, what they were before the first step.

    Attributes:
        source: the file that says it, relative to what was examined.
        step: at which they were compared.
        names: of the parameters, from files: to be escaped when shown.
        share: of all numbers of the model, 0 to 1.
    """

    source: str
    step: int
    names: tuple[str, ...]
    share: float
