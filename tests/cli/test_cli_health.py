"""`terrarium verify` in words and exit codes."""

from __future__ import annotations

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
