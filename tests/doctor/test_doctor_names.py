"""Every number that a detector or a trial can name has a name in every language."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from patients.trial import is_named
from terrarium.doctor import detectors
from terrarium.doctor.language import LANGUAGES, PLACEHOLDER, Language, form_of
from terrarium.healing.cures import MEASURES
from terrarium.healing.trial import Plan, Trials

DETECTORS = sorted(Path(detectors.__file__).parent.glob("*.py"))
CHINESE = Language.choose("zh")


def written(tree: ast.AST) -> Iterator[str]:
    """The names that stand in the calls of `Number`, with X where a value is filled in."""
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "Number":
            by_word = [word.value for word in call.keywords if word.arg == "name"]
            name = call.args[1] if len(call.args) > 1 else by_word[0]
            if isinstance(name, ast.JoinedStr):
                yield "".join(
                    str(getattr(part, "value", "X")) if isinstance(part, ast.Constant) else "X"
                    for part in name.values
                )
            elif isinstance(name, ast.Constant):
                yield str(name.value)


def test_all_that_detectors_write_is_named() -> None:
    # what they compute is held by `unsaid`, which every detector's patients are asked
    names = {name for path in DETECTORS for name in written(ast.parse(path.read_text("utf-8")))}
    assert len(names) > 50
    assert [name for name in sorted(names) if form_of(name)[0] is None] == []


def test_a_forgotten_name_would_be_seen() -> None:
    (forgotten,) = written(ast.parse("Number(stage.source, f'depth of {what}', 1.0)"))
    assert form_of(forgotten)[0] is None
    assert not is_named("depth of the well as it was")


@pytest.mark.parametrize("measure", sorted({measure for measure in MEASURES.values() if measure}))
def test_all_that_a_trial_tells_is_named(measure: str) -> None:
    trials = Trials([2.0, 2.1], {1.0: [2.0, 2.1], 1 / 3: [1.0, 1.1]}, None, measure, Plan(0, 0, 4, 2, 20))
    names = trials.numbers(0.03)
    assert len(names) == 7
    assert [name for name in names if not is_named(name)] == []
    assert not {name for name in names if CHINESE.named(name) == name}


@pytest.mark.parametrize("code", LANGUAGES)
def test_a_name_keeps_what_fills_its_braces(code: str) -> None:
    for key, name in Language.choose(code).find("numbers").items():
        assert {m["name"] for m in PLACEHOLDER.finditer(key)} == {
            m["name"] for m in PLACEHOLDER.finditer(name)
        }


def test_names_are_put_together_and_what_nobody_knows_stays_as_it_came() -> None:
    assert (
        CHINESE.named("latent_actions: loss, median of the last tenth")
        == "潜在动作：loss：最后十分之一的中位数"
    )
    assert CHINESE.named("roll-out after 16 frames") == "向前 16 帧的滚动预测"
    assert CHINESE.named("checkpoints that are wrong-step") == "步数与名称不符的 checkpoint 数"
    assert CHINESE.named("\x1b[31mdepth\n`of` the well") == "[31mdepth `of` the well"
    assert CHINESE.named("a: " * 4000)
    assert CHINESE.named("resumed from step 0") == "从 step 0 恢复"
    assert Language.choose("en").named("steps allowed") == "steps that it might take"
