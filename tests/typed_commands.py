"""Commands as a user types them, and the one line that refuses them."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner, Result

from terrarium.cli import main
from terrarium.run.folder import STAGES

TWO_STEPS = [f"{name}.steps=2" for name in STAGES]


def terrarium(*words: str | Path) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception  # a user would see a traceback
    return result


def refusal(result: Result, code: int) -> str:
    """The one line that says what is wrong; nothing else follows it."""
    assert result.exit_code == code, result.output
    lines = result.stderr.splitlines()
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
    assert "Traceback" not in result.output
    return lines[-1].removeprefix("error: ")
