"""Histories of every format: what the loggers wrote themselves, and damaged ones read past the damage."""

from __future__ import annotations

import gzip
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from patients import logs
from patients.logs import WRITERS, rows_of
from terrarium.doctor.history import History
from terrarium.doctor.readers.histories import HistoryFile, format_of, read

REAL = Path(__file__).parent / "logs"
CONFIG = {"learning_rate": 0.001, "n_updates": 500, "model": {"codebook_size": 1024}}


def real(name: str, folder: Path) -> Path:
    path = folder / name
    path.write_bytes(gzip.decompress((REAL / f"{name}.gz").read_bytes()))
    return path


def read_one(path: Path) -> HistoryFile:
    found = read(path)
    assert list(found) == [""]
    return found[""]


def history(path: Path) -> History:
    found = read_one(path).history
    assert found is not None
    return found


def lost(path: Path) -> tuple[int, int]:
    """(rows, records that could not be read)."""
    found = history(path)
    return found.rows, found.damaged


def spoil(path: Path, at: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(content)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("wandb.wandb", "wandb"),
        ("tensorboardx.tfevents", "tensorboard"),
        ("tensorboard.tfevents", "tensorboard"),
        ("trackio.db", "trackio"),
    ],
)
def test_what_the_loggers_wrote_themselves(name: str, found: str, tmp_path: Path) -> None:
    file = read_one(real(name, tmp_path))
    rows = file.history
    assert rows is not None
    assert (file.format, file.damaged, file.steps_from, rows.rows) == (found, 0, "step", 60)
    steps, loss = rows.series("loss")
    assert np.array_equal(steps, [step for step in range(60) if step not in (50, 51)])
    assert np.allclose(loss, 4.0 - steps / 32)
    assert np.flatnonzero(rows.not_finite["loss"]).tolist() == [50, 51]
    assert np.allclose(rows.series("learning_rate")[1], 0.001)
    assert file.runtime_from in ("runtime", "timestamp")


def test_settings_and_names_come_with_the_log(tmp_path: Path) -> None:
    wandb, trackio = (read_one(real(name, tmp_path)) for name in ("wandb.wandb", "trackio.db"))
    assert wandb.config == CONFIG == trackio.config
    assert (wandb.run, trackio.run) == ("a1b2c3d4", "first")
    assert wandb.names["codebook_usage"] == "latent_actions/codebook_usage"  # logged as a nested object
    hparams = read_one(real("tensorboardx.tfevents", tmp_path)).config
    assert hparams == {"learning_rate": 0.001, "n_updates": 500, "optimizer": "adam", "amp": True}


@pytest.mark.parametrize("found", WRITERS)
def test_every_format_gives_the_same_history(found: str, tmp_path: Path) -> None:
    rows = rows_of(250)
    name, write = WRITERS[found]
    write(tmp_path / name, rows)
    file = read_one(tmp_path / name)
    assert file.format == found
    assert file.history is not None
    assert file.history.steps.tolist() == list(range(250))
    loss, clock = file.history.series("loss")[1], file.history.series("runtime")[1]
    assert np.allclose(loss, [row["train/loss"] for row in rows], rtol=1e-6)
    assert np.allclose(clock, 0.5 * np.arange(250))
    assert file.history.series("codebook_usage")[0].tolist() == [0, 100, 200]


@pytest.mark.parametrize("found", WRITERS)
def test_the_content_tells_the_format_and_not_the_name(found: str, tmp_path: Path) -> None:
    path = tmp_path / "log"
    WRITERS[found][1](path, rows_of(50))
    assert format_of(path) == found


@pytest.mark.parametrize("found", WRITERS)
def test_a_log_that_ends_in_the_middle_of_a_row(found: str, tmp_path: Path) -> None:
    path = tmp_path / WRITERS[found][0]
    WRITERS[found][1](path, rows_of(500))
    content = path.read_bytes()
    if found == "trackio":
        pytest.skip("a database has no last row at its end")
    path.write_bytes(content[: len(content) * 6 // 10 + 3])
    rows, damaged = lost(path)
    assert 280 <= rows <= 320
    assert damaged == (0 if found == "csv" else 1)  # a line that is cut in its last cell has all its cells


def test_wandb_goes_on_in_the_next_block(tmp_path: Path) -> None:
    path = tmp_path / "run-a.wandb"
    logs.write_wandb(path, rows_of(2000))
    whole = path.stat().st_size
    assert whole > 5 * 32768
    spoil(path, 32768 + 5000, b"\xff" * 8)
    rows, damaged = lost(path)
    in_a_block = 2000 * 32768 // whole
    assert 2000 - 1.1 * in_a_block < rows < 2000 - 0.5 * in_a_block
    assert damaged >= 1
    assert history(path).lost_bytes > 20_000
    assert history(path).steps[-1] == 1999


def test_wandb_records_longer_than_a_block(tmp_path: Path) -> None:
    path = tmp_path / "run-a.wandb"
    rows = rows_of(20)
    rows[7]["table"] = "x" * 100_000
    logs.write_wandb(path, rows)
    assert lost(path) == (20, 0)
    spoil(path, 32768 + 100, b"\xff" * 8)  # in the middle of the long one
    rows_left, damaged = lost(path)
    assert rows_left == 19
    assert damaged == 1


def test_events_are_read_past_a_bad_record(tmp_path: Path) -> None:
    path = tmp_path / "events.out.tfevents.1.host"
    logs.write_events(path, rows_of(2000))
    spoil(path, path.stat().st_size // 2, b"\xff\xfe")
    rows, damaged = lost(path)
    assert rows >= 1999
    assert damaged == 1
    assert history(path).steps[-1] == 1999


@pytest.mark.parametrize("size", [1, 50, 5000])
def test_events_are_found_again_after_any_damage(size: int, tmp_path: Path) -> None:
    path = tmp_path / "events.out.tfevents.1.host"
    logs.write_events(path, rows_of(2000))
    begin = path.stat().st_size // 2
    for content in (bytes(size), b"\xff" * size):
        spoil(path, begin, content)
    rows, damaged = lost(path)
    assert rows >= 2000 - size / 50 - 2
    assert 1 <= damaged <= 3
    assert history(path).steps[-1] == 1999


def test_more_than_ten_thousand_scalars_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "events.out.tfevents.1.host"
    logs.write_events(path, rows_of(12_000))
    assert history(path).rows == 12_000


def test_event_files_of_one_folder_are_one_history(tmp_path: Path) -> None:
    rows = rows_of(300)
    logs.write_events(tmp_path / "events.out.tfevents.200.host", rows[150:])
    logs.write_events(tmp_path / "events.out.tfevents.100.host", rows[:150])
    assert history(tmp_path).steps.tolist() == list(range(300))


def test_pictures_among_the_events_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "events.out.tfevents.1.host"
    logs.write_events(path, rows_of(10))
    scalars = path.read_bytes()
    small = logs.recorded([b"\x2a\x88\x27" + b"\x0a\x85\x27" + b"\x22\x82\x27" + bytes(4994 + 4)])
    length = (20 * 2**20).to_bytes(8, "little")
    large = logs.recorded([length])[12:20] + logs.recorded([length])[20:] + bytes(20 * 2**20 + 4)
    path.write_bytes(scalars + small + large + scalars)
    assert history(path).restarts[0].row == 10
    assert history(path).damaged == 0


def test_trackio_with_several_runs(tmp_path: Path) -> None:
    path = tmp_path / "world.db"
    logs.write_trackio(path, rows_of(10), run="first")
    logs.write_trackio(path, rows_of(20), {"learning_rate": 0.1}, run="second")
    found = read(path)
    assert {name: file.history.rows for name, file in found.items() if file.history} == {
        "second": 20,
        "first": 10,
    }
    assert list(found) == ["second", "first"]
    assert found["second"].config == {"learning_rate": 0.1}


def test_trackio_while_it_is_written_to(tmp_path: Path) -> None:
    """Rows that are only in the log beside the database are read, and nothing is left beside it."""
    path = tmp_path / "world.db"
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA journal_mode = WAL")
        logs.add_to_trackio(database, rows_of(40))
        before = {file.name: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
        assert "world.db-wal" in before
        assert history(path).rows == 40
        assert {file.name: file.stat().st_mtime_ns for file in tmp_path.iterdir()} == before
    database.close()


def test_trackio_leaves_no_trace_in_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "world.db"
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA journal_mode = WAL")  # a reader would make -shm and -wal of it again
        logs.add_to_trackio(database, rows_of(40))
    database.close()
    assert [file.name for file in tmp_path.iterdir()] == ["world.db"]
    assert history(path).rows == 40
    assert [file.name for file in tmp_path.iterdir()] == ["world.db"]


def test_a_database_that_never_ends_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "world.db"
    with sqlite3.connect(path) as database:
        database.execute(
            """CREATE VIEW metrics AS WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n)
            SELECT id, 'a' AS run_name, id AS step, '' AS timestamp, '{"loss": 1}' AS metrics FROM n"""
        )
    database.close()
    monkeypatch.setattr("terrarium.doctor.readers.trackio.MOST_SECONDS", 0.2)
    assert read_one(path).reason == "unreadable"


@pytest.mark.parametrize(
    "content", [b"SQLite format 3\0" + bytes(200), b"SQLite format 3\0" + b"\xff" * 4096]
)
def test_a_damaged_database(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "world.db").write_bytes(b"SQLite format 3\0" + content)
    assert read_one(tmp_path / "world.db").reason in ("unreadable", "no-history")


def test_a_database_that_is_none_of_trackio_s(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "a.db") as database:
        database.execute("CREATE TABLE metrics (a INTEGER)")
    database.close()
    assert read_one(tmp_path / "a.db").reason == "no-history"


def test_reading_imports_no_torch() -> None:
    code = "import sys, terrarium.doctor.readers.gather; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
