"""Which steps are taken again, at what cost, and what their outcome speaks for."""

from __future__ import annotations

import math

import pytest

from terrarium.config import GatesConfig
from terrarium.healing.decisions import Trouble
from terrarium.healing.treatments import believe
from terrarium.healing.trial import LEAST_ALLOWED, Plan, Trials, plan_trial

INF = (math.inf,) * 8
GATES = GatesConfig()


def near(level: float) -> list[float]:
    """A series about a level, with a little noise."""
    return [level + 0.01 * (-1) ** step for step in range(8)]


def trouble(onset: int, step: int) -> Trouble:
    return Trouble(step, "loss-jump", onset)


def test_rates_part_at_the_checkpoint_where_that_is_near() -> None:
    plan = plan_trial(45_000, trouble(45_100, 45_500), GATES, 100_000)
    assert plan == Plan(45_000, 45_000, 45_200, 45_150, 5000)
    assert plan.cost == 600


def test_where_the_checkpoint_is_far_the_way_there_is_taken_once() -> None:
    plan = plan_trial(9000, trouble(9800, 10_000), GATES, 40_000)
    assert plan == Plan(9000, 9800, 9900, 9850, 2000)
    assert plan.cost == 800 + 3 * 100


@pytest.mark.parametrize("steps", [200, 700, 6000, 100_000])
@pytest.mark.parametrize("way", [0, 11, 60, 700])
def test_a_trial_never_costs_more_than_its_share(steps: int, way: int) -> None:
    plan = plan_trial(1000, trouble(1000 + way, 1000 + way + 400), GATES, steps)
    if plan is None:
        assert way + 3 * 8 > max(LEAST_ALLOWED, 0.05 * steps), "what is left out is too dear"
    else:
        assert plan.cost <= plan.allowed == max(LEAST_ALLOWED, 0.05 * steps)
        assert plan.begin <= plan.part <= plan.compare < plan.stop


def test_what_it_cost_is_told_and_so_is_that_nothing_could_be_tried() -> None:
    trials = Trials(near(3), {1.0: near(3), 1 / 3: near(1.9)}, 1.0, plan=Plan(0, 0, 24, 16, 72))
    told = believe(trials, 0.03, trouble(0, 50), 0)
    assert told.numbers["steps tried"] == told.numbers["steps allowed"] == 72
    assert told.numbers["gain asked for"] == pytest.approx(1.0), "half of the rise"
    assert told.numbers["standard error at rate x 0.333"] == pytest.approx(0.0, abs=0.02)
    assert told.rate_factor == pytest.approx(1 / 3)
    untried = believe(Trials((), {}), 0.03, trouble(10, 50), 5)
    assert (untried.skip_batches, untried.reason) == (45, "nothing could be tried: they are passed over")


@pytest.mark.parametrize(
    ("lower", "best"),
    [
        ({1 / 3: near(2.0), 1 / 10: near(2.5)}, 1 / 3),
        ({1 / 3: near(2.95), 1 / 10: near(3.5)}, None),
        ({1 / 3: INF}, None),
    ],
)
def test_a_lower_rate_must_gain_something_to_be_believed(
    lower: dict[float, list[float]], best: float | None
) -> None:
    assert Trials(near(3), {1.0: near(3), **lower}).best(0.03) == best
    assert Trials(near(-3), {1.0: near(-3), 1 / 3: near(-3.5)}).best(0.03) == 1 / 3, "a likelihood"


def test_what_a_lower_rate_always_gains_late_in_training_is_no_evidence() -> None:
    rose = Trials(near(3), {1.0: near(3), 1 / 3: near(2.85)}, before=2.6)
    assert rose.best(0.03) is None, "5 % less, but not half of the rise undone"
    assert Trials(near(3), {1.0: near(3), 1 / 3: near(2.7)}, before=2.6).best(0.03) == 1 / 3


def test_what_may_be_luck_is_no_evidence() -> None:
    wild = [3.0, 9.0, 1.0, 6.0, 2.0, 8.0, 3.0, 7.0]
    luck = [4.0, 3.0, 4.5, 4.0, 3.0, 5.5, 4.0, 3.0]
    assert Trials(wild, {1.0: wild, 1 / 3: luck}).best(0.03) is None
    assert Trials(wild, {1.0: wild, 1 / 3: [each / 2 for each in luck]}).best(0.03) is None
    growing = [1.0 + 2.0 * step for step in range(8)]
    assert Trials(growing, {1.0: growing, 1 / 3: near(1)}).best(0.03) == 1 / 3, "a trend is no noise"


def test_a_cause_that_passed_by_itself_is_not_the_rate() -> None:
    trials = Trials(near(9), {1.0: near(1), 1 / 3: near(0.99), 1 / 10: near(1.2)}, before=1.0)
    assert trials.passed(0.03)
    assert trials.best(0.03) is None
    assert Trials(INF, {1.0: near(2), 1 / 3: near(1.9)}).passed(0.03)
    assert not Trials(near(9), {1.0: near(9), 1 / 3: near(1)}).passed(0.03)
    assert Trials(near(9), {1.0: INF, 1 / 3: near(1)}).best(0.03) == 1 / 3


def test_of_codes_more_is_better() -> None:
    gone, had = [-value for value in near(0.02)], [-value for value in near(1.8)]
    trials = Trials(gone, {1.0: gone, 1 / 3: gone, 1 / 10: had}, -1.9, "action_entropy")
    assert trials.best(0.03) == 1 / 10
    assert not trials.passed(0.03)
    assert Trials(gone, {1.0: had}, -1.9, "action_entropy").passed(0.03)
    numbers = trials.numbers(0.03)
    assert numbers["action_entropy as it was"] == pytest.approx(0.02)
    assert numbers["action_entropy at rate x 0.1"] == pytest.approx(1.8)
