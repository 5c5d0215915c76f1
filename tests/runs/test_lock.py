"""The lock of a run folder, and starts that were killed half-way."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from small_run import SMALL_CONFIG, SMALL_SPACE, SmallRun, edgenas

from edgenas import files
from edgenas.config.reading import load_config
from edgenas.config.run_config import RunConfig
from edgenas.errors import RunFolderError
from edgenas.runs.lock import HOLDER, LOCK, locked
from edgenas.runs.run import open_run
from edgenas.stages.start import start_run

HOLD = "import sys; from pathlib import Path; from edgenas.runs.lock import locked\n"
HOLD += "with locked(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"


@contextmanager
def held(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds a folder."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_process_is_refused_with_the_id_of_the_first(tmp_path: Path) -> None:
    with held(tmp_path / "run") as process:
        refused = pytest.raises(RunFolderError, match=rf"run is in use by process {process.pid}: wait .*stop it")
        with refused, locked(tmp_path / "run"):
            pytest.fail("two processes hold one folder")


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    with held(tmp_path / "run") as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (tmp_path / "run" / LOCK).exists()
        assert (tmp_path / "run" / HOLDER).read_text() == f"{process.pid}\n"
        with locked(tmp_path / "run"):
            pass
    assert not (tmp_path / "run" / HOLDER).exists()


def test_the_command_line_refuses_a_folder_in_use_but_looks_at_it(small_run: SmallRun) -> None:
    with held(small_run.folder) as process:
        for arguments in (["report", "runs/small"], ["run", "small.yaml"]):
            done = edgenas(*arguments, cwd=small_run.cwd)
            assert done.returncode == 2
            assert f"in use by process {process.pid}" in done.stderr
            assert "Traceback" not in done.stderr
        assert edgenas("status", "runs/small", cwd=small_run.cwd).returncode == 0
        assert edgenas("run", "small.yaml", "--plan", cwd=small_run.cwd).returncode == 0


def test_only_temporary_files_of_killed_writes_are_removed(tmp_path: Path) -> None:
    left = [".config.yaml.k3x_9abz", "verify/.models.0a1b2c3d/0.onnx", "supernet/.checkpoint.safetensors.abcdefgh"]
    remaining = [".lock", ".gitignore", "config.yaml", "notes.abcdefgh", "verify/.models/0.onnx", ".hidden.toolongname"]
    for name in left + remaining:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    with locked(tmp_path):
        pass
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()) == sorted(remaining)
    assert not (tmp_path / "verify" / ".models.0a1b2c3d").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="file/run"), locked(tmp_path / "file" / "run"):
        pytest.fail("a file was taken for a folder")


class Killed(BaseException):
    pass


@pytest.fixture
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[RunConfig, RunConfig]:
    """The config of a run, and another's."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny-16.yaml").write_text(SMALL_SPACE)
    (tmp_path / "small.yaml").write_text(SMALL_CONFIG)
    (tmp_path / "other.yaml").write_text(SMALL_SPACE.replace("tiny-16", "other-16"))
    return load_config(Path("small.yaml")), load_config(Path("small.yaml"), ["space=other.yaml", "data.validation=0.3"])


def contents(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != LOCK]
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(paths)}


def killed_at_write(number: int, write: Callable[[Path, bytes], None]) -> Callable[[Path, bytes], None]:
    """Stands in for the write of a file; the one of this number is cut short, as by kill -9."""
    left = [number]

    def cut(path: Path, data: bytes) -> None:
        if not left[0]:
            path.parent.mkdir(parents=True, exist_ok=True)
            (path.parent / f".{path.name}.abcd_123").write_bytes(data[: len(data) // 2])
            raise Killed
        left[0] -= 1
        write(path, data)

    return cut


WRITES = 5
"""Of a start: the space, one device, the shelf, the config, what the images are."""


@pytest.mark.parametrize("number", range(WRITES))
@pytest.mark.parametrize("same", [True, False])
def test_a_start_that_was_killed_between_any_two_writes_begins_again(
    configs: tuple[RunConfig, RunConfig], monkeypatch: pytest.MonkeyPatch, number: int, same: bool
) -> None:
    config, other = configs
    start_run(config, Path("straight"))
    monkeypatch.setattr(files, "_write", killed_at_write(number, write := files._write))
    with pytest.raises(Killed):
        start_run(config if same else other, Path("cut"))
    monkeypatch.setattr(files, "_write", write)
    if not same and number == WRITES - 1:
        with pytest.raises(RunFolderError, match=r"data\.validation was 0\.3, is 0\.15"):
            start_run(config, Path("cut"))
        return
    run = start_run(config, Path("cut"))
    with locked(run.folder):
        pass
    expected = contents(Path("straight"))
    assert len(expected) == WRITES
    # With config.yaml there, the folder is a run's: the first stage writes what the images are.
    assert contents(Path("cut")) == {k: v for k, v in expected.items() if k != "data.json" or number < WRITES - 1}
    assert open_run(run.folder).config == config


@pytest.mark.parametrize("names", [["space.yaml"], ["space.yaml", "devices/00-here.yaml"], [LOCK, "space.yaml", "x"]])
def test_a_folder_of_somebody_elses_files_is_refused_and_left_alone(
    configs: tuple[RunConfig, RunConfig], names: list[str]
) -> None:
    for name in names:
        path = Path("theirs") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    with pytest.raises(RunFolderError, match="exists and is no run folder"):
        start_run(configs[0], Path("theirs"))
    assert {path.read_text() for path in Path("theirs").rglob("*") if path.is_file()} == {"mine"}


def test_an_empty_folder_and_one_with_a_lock_alone_may_begin(configs: tuple[RunConfig, RunConfig]) -> None:
    Path("empty").mkdir()
    Path("locked").mkdir()
    Path("locked", LOCK).touch()
    start_run(configs[0], Path("empty"))
    start_run(configs[0], Path("locked"))
    assert contents(Path("empty")) == contents(Path("locked"))


def test_errors_are_found_before_anything_is_written(configs: tuple[RunConfig, RunConfig]) -> None:
    wrong = load_config(Path("small.yaml"), ["train.init=nowhere"])
    with pytest.raises(RunFolderError, match=r"train\.init: nowhere does not exist"):
        start_run(wrong, Path("run"))
    assert not Path("run").exists()
