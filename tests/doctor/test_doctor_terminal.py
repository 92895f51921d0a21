"""What a diagnosis says in a terminal."""

from __future__ import annotations

import json
import shutil
from io import StringIO
from pathlib import Path

import pytest
from doctor_samples import make_small_run, save_checkpoint
from rich.console import Console

from terrarium.doctor.language import Language
from terrarium.doctor.report import write_report
from terrarium.doctor.terminal import print_summary


def said(run: Path, code: str) -> str:
    """The summary of a run, its lines unbroken."""
    page = write_report(run, language=code)
    console = Console(file=StringIO(), width=1000)
    print_summary(
        json.loads((page.parent / "report.json").read_text("utf-8")), Language.choose(code), console
    )
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_small_run(tmp_path / "small")


@pytest.mark.parametrize(("code", "cause"), [("en", "Cause: "), ("zh", "原因：")])
def test_what_is_wrong_and_why_stand_apart(code: str, cause: str, run: Path) -> None:
    newest = save_checkpoint(run / "dynamics", 2400)
    (newest / "model.safetensors").write_bytes(b"")
    (line,) = (line for line in said(run, code).splitlines() if line.strip().startswith(cause.strip()))
    assert line.strip().startswith(cause)


@pytest.mark.parametrize(("code", "words"), [("en", "not begun"), ("zh", "尚未开始")])
def test_a_stage_that_has_not_begun_is_said_so(code: str, words: str, run: Path) -> None:
    assert words not in said(run, code)
    shutil.rmtree(run / "dynamics")
    (line,) = (line for line in said(run, code).splitlines() if line.strip().startswith("Dynamics"))
    assert words in line
