"""Every error a user can meet, on one page: what happened, where, and what to do next.

TerrariumError
├── UsageError          exit 2: an option, preset, key or argument that is not valid
├── DataError           footage that is missing, damaged, empty or of the wrong size
├── CheckpointError     a checkpoint that is missing, damaged, refused or of another run
│   └── RefusedStateError   a state that must not be saved: empty, not finite, not the model
├── RunError            a run folder that is missing, foreign, locked or of another configuration
├── TrainingError       a step that can't be taken
│   ├── NotFiniteError      a step whose loss or gradient is not finite
│   └── OutOfMemoryError    a step that does not fit into memory
├── RankLostError       one of several processes that train together is gone
├── HealthError         a stage that the doctor finds critical, and that nothing cured
├── PlayError           a world that can't be served: a busy port, a bad address
└── MissingExtraError   an optional package that is not installed
"""

from __future__ import annotations


class TerrariumError(Exception):
    """Base of all errors shown to the user as one line, without a traceback.

    Args:
        what: what is wrong, naming the file, key or value.
        next_step: what the user can do about it.

    Attributes:
        told: whether the first of several processes reports it, so that the others stay silent.
    """

    exit_code = 1

    def __init__(self, what: str, next_step: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.next_step = next_step
        self.told = False

    def __str__(self) -> str:
        return f"{self.what}. {self.next_step}" if self.next_step else self.what


class UsageError(TerrariumError):
    """An option, preset, key or argument that is not valid."""

    exit_code = 2


class DataError(TerrariumError):
    """Footage that is missing, damaged, empty or of the wrong size."""


class CheckpointError(TerrariumError):
    """A checkpoint that is missing, damaged, refused or of another run."""


class RefusedStateError(CheckpointError):
    """A state that must not be saved: it is empty, not finite, or not the model."""


class RunError(TerrariumError):
    """A run folder that is missing, foreign, locked or of another configuration."""


class TrainingError(TerrariumError):
    """A step that can't be taken."""


class NotFiniteError(TrainingError):
    """A step whose loss or gradient is not finite."""


class OutOfMemoryError(TrainingError):
    """A step that does not fit into memory."""


class RankLostError(TerrariumError):
    """One of several processes that train together is gone."""


class HealthError(TerrariumError):
    """A stage that the doctor finds critical, and that nothing cured."""


class PlayError(TerrariumError):
    """A world that can't be served: a busy port, a bad address."""


class MissingExtraError(TerrariumError):
    """An optional package that is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"the package {package!r} is not installed",
            f"In the folder of Terrarium's sources: pip install -e '.[{extra}]'",
        )


REFUSALS = ("can't allocate memory", "could not create a primitive")  # what torch and oneDNN say on a CPU


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: Python and GPUs raise a type of their own, torch on a CPU only words."""
    typed = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return typed or (isinstance(error, RuntimeError) and any(words in str(error) for words in REFUSALS))
