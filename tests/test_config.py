from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from terrarium.config import Config, from_tree, override
from terrarium.errors import UsageError
from terrarium.presets import preset

QUICK = preset("quick")


def leaves(tree: dict[str, Any], prefix: str = "") -> list[str]:
    """All dotted keys of a tree."""
    found: list[str] = []
    for key, value in tree.items():
        found += leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else [prefix + key]
    return found


def value_at(config: Config, key: str) -> object:
    node: object = config
    for part in key.split("."):
        node = getattr(node, part)
    return node


KEYS = leaves(QUICK.model_dump())


@pytest.mark.parametrize(
    ("key", "close"),
    [
        ("dynamcis.steps", "dynamics"),
        ("dynamics.step", "steps"),
        ("video_tokeniser.width", "video_tokenizer"),
        ("latent_actions.batchsize", "batch_size"),
        ("sead", "seed"),
    ],
)
def test_an_unknown_key_is_told_the_close_one(key: str, close: str) -> None:
    with pytest.raises(UsageError, match=rf"no setting '{key}'. Did you mean '{close}'\?"):
        override(QUICK, [f"{key}=1"])


@pytest.mark.parametrize(
    "key", ["xyzzy", "dynamics.xyzzy", "", ".", "dynamics", "dynamics.steps.more", "seed.x"]
)
def test_a_key_that_is_nowhere_is_told_what_there_is(key: str) -> None:
    with pytest.raises(UsageError, match=r"no setting .* There are: "):
        override(QUICK, [f"{key}=1"])


@pytest.mark.parametrize(
    "assignment",
    [
        "dynamics.steps=0",
        "dynamics.steps=-3",
        "dynamics.steps=2.5",
        "dynamics.steps=many",
        "dynamics.steps=null",
        "dynamics.steps=[1]",
        "dynamics.steps=",
        'dynamics.steps={"a": 1}',
        "dynamics.steps=1000000000000",
        "dynamics.learning_rate=0",
        "dynamics.learning_rate=NaN",
        "dynamics.learning_rate=Infinity",
        "dynamics.learning_rate=2",
        "dynamics.learning_rate=1e999",
        "dynamics.gradient_clip=NaN",
        "dynamics.gradient_clip=Infinity",
        "dynamics.ema_decay=1",
        "dynamics.ema_decay=NaN",
        "dynamics.width=12",
        "dynamics.heads=3",
        "dynamics.gradient_accumulation=3",
        "video_tokenizer.levels=[8]]",
        "video_tokenizer.levels=[]",
        "video_tokenizer.levels=[1,5]",
        "video_tokenizer.levels=[64,64,64]",
        "latent_actions.bits=4",
        "seed=-1",
        "seed=4294967296",
        "device=tpu",
        "precision=fp64",
    ],
)
def test_a_value_that_can_not_work_is_refused_by_name(assignment: str) -> None:
    with pytest.raises(UsageError) as refusal:
        override(QUICK, [assignment])
    section = assignment.partition("=")[0].partition(".")[0]
    assert str(refusal.value).startswith(f"--set: {section}")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("assignment", ["dynamics.steps", "", "200"])
def test_an_assignment_without_equals_is_shown_how(assignment: str) -> None:
    with pytest.raises(UsageError, match=r"has no '='. Write --set dynamics\.steps=200"):
        override(QUICK, [assignment])


@pytest.mark.parametrize(
    ("assignment", "key", "value"),
    [
        ("dynamics.steps=200", "dynamics.steps", 200),
        (" dynamics.steps = 200 ", "dynamics.steps", 200),
        ("dynamics.learning_rate=5e-4", "dynamics.learning_rate", 5e-4),
        ("video_tokenizer.levels=[4,4,4]", "video_tokenizer.levels", (4, 4, 4)),
        ("device=cpu", "device", "cpu"),
        ('device="cpu"', "device", "cpu"),
        ("seed=4294967295", "seed", 2**32 - 1),
        ("evaluate.horizons=[1,2]", "evaluate.horizons", (1, 2)),
    ],
)
def test_the_forms_of_an_assignment(assignment: str, key: str, value: object) -> None:
    assert value_at(override(QUICK, [assignment]), key) == value


def test_the_last_of_two_assignments_counts_and_the_rest_stays() -> None:
    changed = override(QUICK, ["dynamics.steps=1", "dynamics.steps=2"])
    assert changed.dynamics == QUICK.dynamics.model_copy(update={"steps": 2})
    assert changed.video_tokenizer == QUICK.video_tokenizer


def test_values_that_only_fit_together_can_be_set_one_by_one() -> None:
    changed = override(QUICK, ["dynamics.heads=5", "dynamics.width=40"])
    assert (changed.dynamics.heads, changed.dynamics.width) == (5, 40)


def test_a_configuration_can_not_be_changed_behind_its_back() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        QUICK.seed = 1  # type: ignore[misc]  # that is the point
    with pytest.raises(ValidationError, match="frozen"):
        QUICK.dynamics.steps = 1  # type: ignore[misc]


@pytest.mark.parametrize("tree", [None, [], "quick", {}, {**QUICK.model_dump(), "extra": 1}])
def test_a_tree_from_a_file_is_checked(tree: object) -> None:
    with pytest.raises(UsageError, match=r"^run\.json: "):
        from_tree(tree, "run.json")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=5,
)


@given(key=st.sampled_from(KEYS) | st.text(), value=json_values.map(json.dumps) | st.text())
def test_any_assignment_is_taken_or_refused_in_one_line(key: str, value: str) -> None:
    try:
        changed = override(QUICK, [f"{key}={value}"])
    except UsageError as refusal:
        assert len(str(refusal).splitlines()) == 1
    else:
        assert from_tree(json.loads(changed.model_dump_json()), "again") == changed


@given(
    width=st.integers(1, 40).map(lambda eighth: 8 * eighth),
    heads=st.integers(1, 64),
    batch=st.integers(1, 64),
    parts=st.integers(1, 8),
)
def test_what_must_divide_is_checked(width: int, heads: int, batch: int, parts: int) -> None:
    assignments = [
        f"dynamics.{key}={value}"
        for key, value in (
            ("width", width),
            ("heads", heads),
            ("batch_size", batch),
            ("gradient_accumulation", parts),
        )
    ]
    if width % heads or batch % parts:
        with pytest.raises(UsageError, match="can't be divided"):
            override(QUICK, assignments)
    else:
        assert override(QUICK, assignments).dynamics.width == width


def test_no_more_codes_than_two_bytes_hold() -> None:
    levels = override(QUICK, ["video_tokenizer.levels=[64,64,16]"]).video_tokenizer.levels
    assert math.prod(levels) == 65536
    with pytest.raises(UsageError, match="131072 codes; at most 65536 fit"):
        override(QUICK, ["video_tokenizer.levels=[64,64,4,4,2]"])


@pytest.mark.parametrize(
    "assignment",
    [
        "latent_actions.clip_frames=1",
        "latent_actions.clip_frames=3",  # two past changes need frames of their own
        "latent_actions.past_frames=8",
        "dynamics.clip_frames=1",
        "dynamics.steps=true",
        "dynamics.learning_rate=true",
        "seed=" + "1" * 5000,
        "seed=" + "[" * 50_000,
    ],
)
def test_more_values_that_can_not_work(assignment: str) -> None:
    with pytest.raises(UsageError):
        override(QUICK, [assignment])
