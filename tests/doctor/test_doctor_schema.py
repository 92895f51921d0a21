"""`report.json` is what its types, its schema and its page say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from doctor_samples import make_run, make_small_run
from pydantic import BaseModel, ValidationError

from patients import zelda
from terrarium.doctor import schema
from terrarium.doctor.examine import Diagnosis
from terrarium.doctor.language import LANGUAGES, Language
from terrarium.doctor.report import FORMAT, describe, diagnose

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "report.md").read_text("utf-8")
PARTS = [
    part
    for part in vars(schema).values()
    if isinstance(part, type) and issubclass(part, schema.Part) and part is not schema.Part
]


def document(path: Path) -> dict[str, Any]:
    return in_words(diagnose([path]))


def in_words(diagnosis: Diagnosis, language: str = "en") -> dict[str, Any]:
    described = describe(diagnosis, Language.choose(language))
    loaded: dict[str, Any] = json.loads(json.dumps(described, allow_nan=False))
    return loaded


@pytest.fixture(scope="module")
def diagnoses(tmp_path_factory: pytest.TempPathFactory) -> list[Diagnosis]:
    """Of a whole run of ours, and of a stranger's tree."""
    folder = tmp_path_factory.mktemp("runs")
    paths = make_run(folder / "run"), zelda.build(folder / "zelda", with_pictures=False, copies=("csv",))
    return [diagnose([path]) for path in paths]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_whole_run_and_a_stranger_s_tree_are_as_the_schema_says(
    diagnoses: list[Diagnosis], language: str
) -> None:
    for diagnosis in diagnoses:
        schema.Report.model_validate_json(json.dumps(in_words(diagnosis, language)))


def test_an_empty_folder_and_a_history_that_is_no_number_too(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "run.json").write_text("{}")
    rows = "\n".join(f'{{"step": {step}, "train/loss": NaN, "lr": 1e999}}' for step in range(300))
    (tmp_path / "loss.jsonl").write_text(rows)
    for path in (tmp_path / "empty", tmp_path / "loss.jsonl", make_small_run(tmp_path / "small")):
        schema.Report.model_validate_json(json.dumps(document(path)))


def test_what_is_not_documented_is_refused(tmp_path: Path) -> None:
    told = document(make_small_run(tmp_path / "small"))
    for change in ({"more": 1}, {"verdict": "fine"}, {"format": FORMAT + 1}):
        with pytest.raises(ValidationError):
            schema.Report.model_validate_json(json.dumps(told | change))


def test_the_schema_file_is_made_of_the_types() -> None:
    """Write it again with: python -m terrarium.doctor.schema > docs/report.schema.json"""
    stored = json.loads((DOCS / "report.schema.json").read_text("utf-8"))
    assert stored == schema.Report.model_json_schema()


@pytest.mark.parametrize("part", PARTS)
def test_every_field_is_on_the_page(part: type[BaseModel]) -> None:
    heading = f"## {part.__name__}\n"
    assert heading in PAGE
    section = PAGE.split(heading)[1].split("\n## ")[0]
    listed = set(re.findall(r"^\| `(\w+)` \|", section, re.M))
    assert listed == set(part.model_fields)
