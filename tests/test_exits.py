"""How commands end when something other than the input goes wrong: signals, full disks and memories, bugs."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from damaging import Outcome, call
from small_run import edgenas_process

import edgenas as edgenas_package
from edgenas.cli import main
from edgenas.errors import InfeasibleError, Stopped
from edgenas.latency import table
from edgenas.latency.table import table_names


def ended_by(error: BaseException, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Outcome:
    """`edgenas tables list` in which an error turns up."""

    def fail() -> None:
        raise error

    monkeypatch.setattr(table, "table_names", fail)
    return call("tables", "list", "--json", cwd=tmp_path)


@pytest.fixture
def own_environment() -> Iterator[None]:
    """Variables that a command sets are gone after it."""
    with mock.patch.dict(os.environ):
        yield


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (InfeasibleError("no network fits"), 1, "error: no network fits"),
        (OSError(errno.ENOSPC, "No space left on device", "a/b.json"), 1, "a/b.json: No space left on device: free"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "b"), 1, "run the same command again"),
        (PermissionError(errno.EACCES, "Permission denied", "a/b.json"), 2, "a/b.json: Permission denied: change"),
        (OSError(errno.EROFS, "Read-only file system", "b"), 2, "choose another path"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "b/c"), 2, "b/c: Not a directory: check the path"),
        (OSError(errno.EIO, "Input/output error", "b"), 1, "error: b: Input/output error"),
        (MemoryError(), 1, "smaller train.batch_size"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), 1, "smaller train.batch_size"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), 1, "or its limit (ulimit -v, a container's) is too low"),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), 1, "error: memory is full"),
        (RuntimeError("can't start new thread"), 1, "error: memory is full"),
        (ImportError("libgomp.so.1: no such file", name="torch._C"), 1, "error: torch cannot be loaded: libgomp.so.1"),
        (KeyboardInterrupt(), 130, "stopped; finished work is kept"),
        (Stopped(signal.SIGTERM), 143, "stopped; finished work is kept"),
    ],
)
def test_each_end_has_its_code_and_one_line(
    error: BaseException, code: int, says: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ended = ended_by(error, monkeypatch, tmp_path)
    assert ended.code == code
    assert says in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert ended.stdout == ""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_that_a_library_turns_into_an_error_is_still_a_signal(
    number: signal.Signals, code: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail() -> None:
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            raise AttributeError("half-imported module") from None

    before = signal.getsignal(number)
    monkeypatch.setattr(table, "table_names", fail)
    ended = call("tables", "list", "--json", cwd=tmp_path)
    assert (ended.code, ended.stdout) == (code, "")
    assert ended.stderr == "stopped; finished work is kept, and the same command resumes from there\n"
    assert signal.getsignal(number) == before


def test_ctrl_c_while_the_commands_are_loaded_is_no_traceback(tmp_path: Path) -> None:
    code = "import signal, sys; sys.modules['edgenas.cli.commands'] = None\n"
    code += "import builtins; real = builtins.__import__\n"
    code += "def stop(name, *rest):\n    if name == 'edgenas.cli.commands': signal.raise_signal(signal.SIGINT)\n"
    code += "    return real(name, *rest)\n"
    code += "builtins.__import__ = stop\nfrom edgenas.cli import main; main()"
    command = [sys.executable, "-c", code, "tables", "list"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 130
    assert done.stderr == "stopped; finished work is kept, and the same command resumes from there\n"


def test_an_import_that_edgenas_gets_wrong_itself_is_a_bug(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    error = ImportError("cannot import name 'x'", name="edgenas.files")
    assert "this is a bug of edgenas" in ended_by(error, monkeypatch, tmp_path).stderr


def test_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ended = ended_by(ZeroDivisionError("division by zero"), monkeypatch, tmp_path)
    assert ended.code == 1
    assert "Traceback" in ended.stderr
    assert "ZeroDivisionError: division by zero" in ended.stderr
    assert "this is a bug of edgenas" in ended.stderr.splitlines()[-1]


def test_signals_are_handled_as_before_once_a_command_has_ended(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert call("tables", "list", cwd=tmp_path).code == 0
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_reader_that_left_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-W", "error", "-m", "edgenas", "tables", "show", table_names()[0]]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=300, check=False)
    os.close(writer)
    assert done.returncode == 1
    assert done.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_output_into_a_full_disk_is_reported() -> None:
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-W", "error", "-m", "edgenas", "tables", "list"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=300, check=False)
    assert done.returncode == 1
    assert "No space left on device: free some space" in done.stderr
    assert "Traceback" not in done.stderr


def test_names_that_are_no_unicode_are_shown_all_the_same(tmp_path: Path) -> None:
    done = edgenas_process("run", os.fsdecode(b"caf\xe9.yaml"), cwd=tmp_path)
    assert done.returncode == 2
    assert r"caf\udce9.yaml does not exist" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    ended = call("devices", "probe", "mine.yaml", cwd=tmp_path)
    tmp_path.chmod(0o700)
    assert ended.code == 2
    assert "mine.yaml: Permission denied" in ended.stderr


def test_streams_that_a_service_closed_are_replaced_and_no_file_takes_their_place(tmp_path: Path) -> None:
    code = (
        "import os, sys\nfrom edgenas.exits import open_closed_streams\nopen_closed_streams()\n"
        "with open('file', 'w') as stream:\n"
        "    print('out'); print('err', file=sys.stderr); sys.stdout.flush()\n"
        "    os.write(1, b'raw'); input_text = sys.stdin.read()\n"
        "    os.system('echo child')\n    assert stream.fileno() > 2\nassert input_text == ''\n"
    )
    (tmp_path / "code.py").write_text(code)
    shell = ["sh", "-c", '"$0" code.py <&- >&- 2>&-', sys.executable]
    environment = {**os.environ, "PYTHONPATH": str(Path(edgenas_package.__file__).parents[1])}
    assert subprocess.run(shell, cwd=tmp_path, env=environment, timeout=60, check=False).returncode == 0
    assert (tmp_path / "file").read_text() == ""


@pytest.mark.usefixtures("own_environment")
def test_a_command_without_standard_output_ends_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["edgenas", "tables", "list"])
    for stream in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, stream, None)
    with pytest.raises(SystemExit) as left:
        main()
    assert not left.value.code
    # What `pythonw` and services start has no streams at all.
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        assert stream.name == os.devnull
        stream.close()


@pytest.mark.usefixtures("own_environment")
def test_a_working_folder_that_was_removed_is_named_as_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    monkeypatch.setattr(sys, "argv", ["edgenas", "tables", "list"])
    with pytest.raises(SystemExit) as left:
        main()
    stated = capsys.readouterr()
    assert (left.value.code, stated.out) == (2, "")
    assert stated.err.startswith("error: the working folder has been removed")
    assert stated.err.count("\n") == 1
