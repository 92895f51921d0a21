"""Every language says everything, with the same values."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from terrarium.doctor.language import FALLBACK, LANGUAGES, PLACEHOLDER, Language

ENGLISH = Language.choose(FALLBACK)
OTHERS = [code for code in LANGUAGES if code != FALLBACK]
PAGE = (Path(__file__).parents[2] / "docs" / "add-a-language.md").read_text("utf-8")


def leaves(tree: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    """(path, variants) of every sentence."""
    if isinstance(tree, dict):
        for name, value in tree.items():
            yield from leaves(value, (*path, name))
    else:
        yield path, tree if isinstance(tree, list) else [tree]


def values(variants: list[str]) -> set[str]:
    return {match["name"] for variant in variants for match in PLACEHOLDER.finditer(variant)}


@pytest.mark.parametrize("code", OTHERS)
def test_nothing_is_left_untranslated_and_nothing_is_left_over(code: str) -> None:
    mine, english = dict(leaves(Language.choose(code).sentences)), dict(leaves(ENGLISH.sentences))
    # English pages are docstrings, and an English unit or name is often what stands in the file already
    own = {path for path in mine if path[-1] == "page" or path[0] in ("units", "measures")}
    assert set(english) - set(mine) == set()
    assert set(mine) - set(english) - own == set()


@pytest.mark.parametrize("code", OTHERS)
def test_a_sentence_names_no_value_that_english_does_not_have(code: str) -> None:
    english = dict(leaves(ENGLISH.sentences))
    for path, variants in leaves(Language.choose(code).sentences):
        if path in english:
            assert values(variants) <= values(english[path]), path


@pytest.mark.parametrize("code", LANGUAGES)
def test_braces_are_closed(code: str) -> None:
    for path, variants in leaves(Language.choose(code).sentences):
        if path[-1] != "page":
            rest = [PLACEHOLDER.sub("", variant) for variant in variants]
            assert not re.search(r"[{}]", "".join(rest)), path


def test_the_page_s_sample_runs() -> None:
    (sample,) = re.findall(r"<!-- tried by [^>]* -->\n```python\n(.*?)```", PAGE, re.S)
    exec(compile(sample, "add-a-language.md", "exec"), {})  # noqa: S102 - our own page
