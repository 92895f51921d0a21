"""`terrarium verify` in words and exit codes."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tiny_training import flip_a_bit
from typed_commands import terrarium


def test_verify_says_whole_or_not(copied: Path) -> None:
    result = terrarium("verify", copied)
    assert result.exit_code == 0
    assert result.stdout.count(": whole, level L3") == 6
    damaged = copied / "latent_actions" / "checkpoints" / "latent_actions_step_6"
    flip_a_bit(damaged / "optimizer.safetensors")
    for path in (copied, damaged):
        result = terrarium("verify", path)
        assert result.exit_code == 11
        (line,) = (line for line in result.stdout.splitlines() if "NOT whole" in line)
        assert "latent_actions_step_6: NOT whole, level L0" in line
        assert "optimizer.safetensors" in line
        assert "Traceback" not in result.output
    assert "latent_actions_step_3)" in terrarium("verify", copied).stdout


@pytest.mark.parametrize("what", ["nowhere", "file", "empty", "empty/dynamics_step_3"])
def test_verify_of_what_is_no_run_exits_11(what: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(range(256)))
    (tmp_path / "empty").mkdir()
    result = terrarium("verify", what)
    assert result.exit_code == 11
    assert ": NOT whole: " in result.stdout
    assert len(result.stdout.splitlines()) == 1


def test_verify_tells_a_program_the_same_of_every_level(copied: Path) -> None:
    result = terrarium("verify", copied / "dynamics", "--level", "5", "--json")
    assert result.exit_code == 0, result.output
    verdicts = json.loads(result.stdout)
    assert [(each["step"], each["level"]) for each in verdicts] == [(3, 3), (6, 3), (6, 4), (6, 5)]
    assert {tuple(each) for each in verdicts} == {tuple(verdicts[0])}


def test_verify_that_could_not_be_told_exits_12(copied: Path) -> None:
    alone = Path(shutil.copytree(copied / "dynamics" / "checkpoints" / "dynamics_step_6", "alone"))
    result = terrarium("verify", alone, "--level", "4")
    assert result.exit_code == 12
    assert "can't tell, level L4: it stands in no run to be used in" in result.stdout
    assert terrarium("verify", "x" * 300).exit_code == 12
    facts = json.loads((copied / "run.json").read_text())
    (copied / "run.json").write_text(json.dumps({**facts, "data": "/nowhere"}))
    result = terrarium("verify", copied, "--level", "4")
    assert result.exit_code == 12
    assert "can't tell, level L4: the footage of " in result.stdout
    assert terrarium("verify", copied).exit_code == 0


def test_verify_prints_any_name_and_offers_the_weights(copied: Path) -> None:
    result = terrarium("verify", os.fsdecode(b"\xff\x1b[31m"))
    assert result.exit_code == 11
    assert result.stdout.rstrip("\n").isprintable()
    damaged = copied / "dynamics" / "checkpoints" / "dynamics_step_6"
    (damaged / "optimizer.safetensors").unlink()
    said = terrarium("verify", damaged).stdout
    assert said.endswith("NOT whole: optimizer.safetensors is missing; its weights alone are whole\n")
