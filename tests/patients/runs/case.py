"""What a generated run is, and what is true of it."""

from __future__ import annotations

from dataclasses import dataclass

from terrarium.doctor.history import BoolArray, FloatArray

Config = dict[str, float | int | str]


@dataclass(frozen=True)
class Truth:
    """What a good doctor says about a case.

    Attributes:
        main: the finding that names the fault best; "" where the run is healthy.
        codes: findings that name it well enough, the main one included.
        leads: codes or causes that may rightly come first.
        fair: codes that are true of the run beside these: what follows from the fault.
        onsets: steps at which it may rightly be said to have begun; empty where it has no beginning.
        severe: whether it must be a watch or critical finding; otherwise information will do.
    """

    main: str = ""
    codes: frozenset[str] = frozenset()
    leads: frozenset[str] = frozenset()
    fair: frozenset[str] = frozenset()
    onsets: tuple[int, ...] = ()
    severe: bool = True

    @property
    def healthy(self) -> bool:
        """Whether nothing is wrong."""
        return not self.main


@dataclass(frozen=True, eq=False)
class Case:
    """One generated run, as it was logged.

    Attributes:
        kind: of fault or of health, a key of `KINDS`.
        seed: even ones are for tuning, odd ones for reporting.
        stage: that its file name tells: `dynamics`, `latent_actions`, `video_tokenizer` or `training`.
        style: whose column names and file format: a key of `STYLES`.
        noise: law of the loss's noise.
        columns: name -> values [rows] in logged order; NaN and infinities were logged as such.
        logged: name -> rows [rows] that hold a value; columns that are not here hold one in every row.
        config: what stands in the configuration file beside it; empty where there is none.
        truth: what is true of it.
        blank: whether what is not a number was left blank, as tables often do.
        decimals: to which the loss is printed; None for all digits.
    """

    kind: str
    seed: int
    stage: str
    style: str
    noise: str
    columns: dict[str, FloatArray]
    logged: dict[str, BoolArray]
    config: Config
    truth: Truth
    decimals: int | None = None
    blank: bool = False

    @property
    def name(self) -> str:
        """Unique among all cases."""
        return f"{self.kind}-{self.seed}"

    @property
    def rows(self) -> int:
        """Rows that were logged."""
        return len(self.columns["step"])

    @property
    def length(self) -> int:
        """Steps from the first to the last."""
        steps = self.columns["step"]
        return max(1, int(steps.max() - steps.min()))
