"""`docs/run-folder.md` says what the code does, and the room imports what it may."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from run_samples import make_run, sample_files, sample_state

from terrarium.run.checkpoint import commit_checkpoint, read_state
from terrarium.run.folder import STAGES
from terrarium.run.history import History
from terrarium.run.rows import read_history
from terrarium.run.sense import OPTIMIZER_SLOTS

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "run-folder.md").read_text()


def examples() -> list[dict[str, object]]:
    """Every JSON object among the examples, one a line or one a block."""
    found = []
    for block in re.findall(r"```json\n(.*?)```", DOCUMENT, flags=re.DOTALL):
        decoder, rest = json.JSONDecoder(), block.strip()
        while rest:
            value, end = decoder.raw_decode(rest)
            found.append(value)
            rest = rest[end:].strip()
    return found


def example_with(*keys: str) -> dict[str, object]:
    (found,) = (example for example in examples() if set(keys) <= set(example))
    return found


def test_run_json(tmp_path: Path) -> None:
    example = example_with("data_fingerprint")
    assert set(make_run(tmp_path).facts) <= set(example)
    assert re.fullmatch(r"[a-z0-9]{8}", str(example["id"]))


def test_history_rows_are_rows(tmp_path: Path) -> None:
    rows = [example for example in examples() if "runtime" in example and "reason" not in example]
    path = tmp_path / "history.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_history(path) == (rows, 0)
    assert len(rows) >= 2


def test_discarded_rows(tmp_path: Path) -> None:
    stage = make_run(tmp_path).stage("dynamics").create()
    stage.history_path.write_text('{"step": 0}\n{"step": 1}\n{"st')
    with History(stage) as history:
        history.take_back(0, "resumed")
    torn, row = (set(json.loads(line)) for line in stage.discarded_path.read_text().splitlines())
    assert set(example_with("torn")) == torn
    assert set(example_with("step", "reason", "discarded_at")) >= row


def test_manifest_and_state(tmp_path: Path) -> None:
    stage = make_run(tmp_path).stage("dynamics").create()
    path = commit_checkpoint(stage, 1, sample_files(), state=sample_state(), keep=1)
    manifest = json.loads((path / "manifest.json").read_text())
    assert set(example_with("files")) == set(manifest)
    assert set(read_state(path)) - {"seed"} <= set(example_with("parameters"))


@pytest.mark.parametrize("word", [*STAGES, *OPTIMIZER_SLOTS, "L0", "L1", "L2", "L3", "TERRARIUM_FAILPOINT"])
def test_every_word_is_explained(word: str) -> None:
    assert word in DOCUMENT


@pytest.mark.parametrize(
    "point",
    sorted(
        set(
            re.findall(
                r'failpoint\("([a-z_:]+)"\)',
                "".join(path.read_text() for path in (ROOT / "src" / "terrarium" / "run").glob("*.py")),
            )
        )
    ),
)
def test_every_failpoint_is_listed(point: str) -> None:
    assert f"`{point}`" in DOCUMENT


def test_the_room_does_without_torch() -> None:
    modules = sorted(path.stem for path in (ROOT / "src" / "terrarium" / "run").glob("[a-z]*.py"))
    imports = "; ".join(f"import terrarium.run.{module}" for module in modules)
    program = f"import sys; sys.path[:0] = {sys.path!r}; {imports}; sys.exit('torch' in sys.modules)"
    assert len(modules) > 8
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
