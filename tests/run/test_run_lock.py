from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest
from run_samples import make_run

from terrarium.errors import RunError
from terrarium.run.lock import RunLock, is_held

HOLDER = """
import sys, time
from pathlib import Path
from terrarium.run.lock import RunLock
with RunLock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""

# The child of the fork outlives its parent, as the worker of a data loader may.
PARENT = """
import os, sys, time
from pathlib import Path
from terrarium.run.lock import RunLock
RunLock(Path(sys.argv[1])).__enter__()
if os.fork() == 0:
    print(os.getpid(), flush=True)
time.sleep(60)
"""


def start(script: str, run: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", script, str(run)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_the_second_process_is_refused_and_the_first_left_alone(tmp_path: Path) -> None:
    with start(HOLDER, tmp_path) as holder:
        assert first_line(holder) == "held"
        with pytest.raises(RunError) as caught, RunLock(tmp_path):
            pass
        assert f"process {holder.pid} on {socket.gethostname()!r}" in caught.value.what
        assert holder.poll() is None
        holder.kill()
        holder.wait(30)
        with RunLock(tmp_path):  # the kernel let go
            assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()


def test_a_child_that_outlives_its_parent_holds_no_lock(tmp_path: Path) -> None:
    with start(PARENT, tmp_path) as parent:
        child = int(first_line(parent))
        try:
            parent.kill()
            parent.wait(30)
            os.kill(child, 0)
            with RunLock(tmp_path):
                pass
        finally:
            os.kill(child, signal.SIGKILL)


def test_twice_in_one_process(tmp_path: Path) -> None:
    lock = RunLock(tmp_path)
    with lock, pytest.raises(RunError, match=f"process {os.getpid()}"), RunLock(tmp_path):
        pass
    with lock:
        pass


def test_a_lock_left_behind_locks_nothing(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text('{"pid": 1, "host": "elsewhere", "started": "long ago"}')
    with RunLock(tmp_path):
        assert "elsewhere" not in (tmp_path / ".lock").read_text()


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 4096, b'{"pid": "1"}', b"\xff\0"])
def test_a_holder_that_says_nothing(tmp_path: Path, content: bytes) -> None:
    with RunLock(tmp_path):
        (tmp_path / ".lock").write_bytes(content)
        with pytest.raises(RunError, match="another process"), RunLock(tmp_path):
            pass


def test_a_run_is_locked_before_it_is_begun(tmp_path: Path) -> None:
    with RunLock(tmp_path / "new" / "run") as lock:
        assert make_run(lock.path.parent).id


def test_a_folder_that_can_not_be_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="can't be locked"), RunLock(tmp_path / "file"):
        pass
    (tmp_path / ".lock").symlink_to(tmp_path / "file")
    with pytest.raises(RunError, match="can't be locked"), RunLock(tmp_path):
        pass

    def unsupported(*_: object) -> NoReturn:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", unsupported)
    with pytest.raises(RunError, match="Operation not supported"), RunLock(tmp_path / "new"):
        pass


def test_who_takes_the_file_away_does_not_take_the_lock(tmp_path: Path) -> None:
    with RunLock(tmp_path):
        (tmp_path / ".lock").unlink()
        assert is_held(tmp_path) is True
        with pytest.raises(RunError, match="is being written by another process"), RunLock(tmp_path):
            pass
    with RunLock(tmp_path):
        assert is_held(tmp_path) is True
    assert is_held(tmp_path) is False


def test_a_disk_that_locks_no_folders_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = fcntl.flock

    def files_only(descriptor: int, how: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EBADF, "Bad file descriptor")
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", files_only)
    with RunLock(tmp_path):
        assert is_held(tmp_path) is True
        with pytest.raises(RunError, match=f"is being written by process {os.getpid()}"), RunLock(tmp_path):
            pass
    assert is_held(tmp_path) is False
