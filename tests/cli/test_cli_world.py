"""`terrarium evaluate`, `play` and `export`."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path

from terrarium.run.folder import RunFolder
from typed_commands import refusal, terrarium


def test_a_busy_port(trained: RunFolder) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refusal(terrarium("play", trained.path, "--port", str(port)), 1)
    assert f"port {port} is already in use" in said


def test_a_world_is_not_served_to_everybody(trained: RunFolder) -> None:
    assert "stands for every address" in refusal(terrarium("play", trained.path, "--host", "0.0.0.0"), 1)  # noqa: S104


def test_a_run_that_is_not_trained_can_not_be_played_or_scored(copied: Path) -> None:
    shutil.rmtree(copied / "dynamics" / "checkpoints")
    for verb in ("play", "evaluate"):
        assert "dynamics has no valid checkpoint" in refusal(terrarium(verb, copied), 1)


def test_evaluate_prints_one_json_object(copied: Path) -> None:
    result = terrarium("evaluate", copied, "--json")
    assert result.exit_code == 0
    scores = json.loads(result.stdout)
    assert scores.keys() >= {"video_tokenizer", "latent_actions", "dynamics", "play"}
    assert scores == json.loads((copied / "scores.json").read_text())


def test_evaluate_prints_the_report(copied: Path) -> None:
    result = terrarium("evaluate", copied)
    assert result.stdout == (copied / "report.md").read_text() + "\n"


def test_export_names_what_it_wrote(copied: Path, tmp_path: Path) -> None:
    result = terrarium("export", copied)
    assert result.exit_code == 0
    written = [Path(line) for line in result.stdout.splitlines()]
    assert len(written) == 6
    assert all(path.parent == Path("Logs") and path.stat().st_size for path in written)
    rows = json.loads(written[0].read_text())
    assert [row["_step"] for row in rows] == list(range(6))
