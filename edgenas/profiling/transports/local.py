"""The transport to this machine: the kit's bench.py in a process of its own."""

from __future__ import annotations

import errno
import os
import select
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar, Protocol

from edgenas.environment import OPT_OUT, script_command
from edgenas.errors import MeasurementError
from edgenas.files import read_jsonl, shipped
from edgenas.latency.device import Device, DeviceRun, check_threads_here
from edgenas.profiling.this_machine import differences
from edgenas.profiling.timer_rows import validate_rows
from edgenas.profiling.transport import Access, Job, Timed, TransportKind, installed_runtime, part_progress

TAIL_LINES = 15
ENDING_SECONDS = 10.0
THREAD_VARIABLES = ("OMP_", "MKL_", "OPENBLAS_", "KMP_", "GOMP_", "ORT_")


@dataclass(frozen=True)
class LocalTransport:
    """Times models on the machine that edgenas runs on."""

    carried: ClassVar[bool] = False

    def runtime_version(self, measured: str) -> str:
        """Return the version of the installed runtime; see `Transport`."""
        return installed_runtime()

    def time(
        self, jobs: Sequence[Job], device: Device, progress: Callable[[int, int], None] | None = None
    ) -> Generator[Timed, None, None]:
        """Time one job after another; a model that the device cannot run is not tried again.

        Raises:
            TableError: this process may use fewer cores than models have threads.
        """
        check_threads_here(device.run.threads)
        return one_by_one(run_bench, jobs, device.run, progress)


class LocalKind(TransportKind):
    """Serves devices that equal this machine."""

    name = "local"
    on_this_machine = True

    def serves(self, device: Device, access: Access) -> bool:
        """Return whether the device is this machine; see `TransportKind`."""
        return device.run.transport == self.name and not differences(device)

    def open(self, device: Device, access: Access) -> LocalTransport:
        """Return the way; see `TransportKind`."""
        return LocalTransport()

    def not_served(self, device: Device) -> str:
        """Return the differences from this machine."""
        return differences(device)

    def current_version(self, measured: str) -> str:
        """Return the version of the installed runtime."""
        return installed_runtime()


KIND = LocalKind()


class Bench(Protocol):
    """Protocol of `run_bench` and its replacements."""

    def __call__(
        self,
        models: Sequence[Path],
        run: DeviceRun,
        *,
        rounds: int,
        seed: int,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[dict[str, Any]]:
        """See `run_bench`."""
        ...


def one_by_one(
    bench: Bench, jobs: Sequence[Job], run: DeviceRun, progress: Callable[[int, int], None] | None
) -> Generator[Timed, None, None]:
    """Time one job after another, each in a process of its own; a model that could not be run is not tried again."""
    failed: set[Path] = set()
    for number, job in enumerate(jobs):
        places = [place for place, model in enumerate(job.models) if model not in failed]
        if not places:
            continue
        rows = bench(
            [job.models[place] for place in places],
            run,
            rounds=job.rounds,
            seed=job.seed,
            progress=part_progress(progress, number, len(jobs)),
        )
        for place, row in zip(places, rows, strict=True):
            if "error" in row:
                failed.add(job.models[place])
            yield Timed(number, place, row)


def run_bench(
    models: Sequence[Path],
    run: DeviceRun,
    *,
    rounds: int,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
    timer: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """Time models on this machine in one process of the kit's bench.py.

    Args:
        models: ONNX files; the timer's output lies beside the first while it runs.
        run: threads, provider and the like.
        rounds: repetitions of every model.
        seed: of inputs and order.
        progress: called with repetitions done and in all.
        timer: words that begin the command of another script, which takes bench.py's options and gives its rows.

    Returns:
        One validated row a model, in the order given; times in milliseconds. The row of a model that the device
        cannot run holds an `error` instead of numbers.

    Raises:
        MeasurementError: the timer failed, or a row is not credible.
    """
    timer = timer or script_command(shipped("export") / "bench.py", "--sessions", "1")
    with tempfile.TemporaryDirectory(dir=models[0].parent, prefix=".timer.") as folder:
        fresh = Path(folder) / "rows.jsonl"
        code, tail = _run([*timer, *_options(models, run, rounds, seed, fresh)], progress)
        rows = read_jsonl(fresh)
    # With exit code 1 the timer says that there are models it could not run; their rows say which.
    if code != 0 and not (code == 1 and any("error" in row for row in rows)):
        full = "\nFree some space and run the same command again." if os.strerror(errno.ENOSPC) in tail else ""
        raise MeasurementError(f"{_script_name(timer)} ended with exit code {code}:\n{tail}{full}")
    return validate_rows(rows, models, run)


def _script_name(timer: Sequence[str]) -> str:
    return next(Path(word).name for word in timer if word.endswith(".py"))


def _options(models: Sequence[Path], run: DeviceRun, rounds: int, seed: int, out: Path) -> list[str]:
    options = {
        "--threads": run.threads,
        "--provider": run.provider,
        "--optimisation-level": run.optimisation_level,
        "--rounds": rounds,
        "--seed": seed,
        "--out": out,
    }
    flags = [str(word) for option in options.items() for word in option]
    return [*map(str, models), *flags, *["--spinning"] * run.spinning]


def _run(command: list[str], progress: Callable[[int, int], None] | None) -> tuple[int, str]:
    """Run a command, and return its exit code and the end of its standard error."""
    # Variables that set the threads of other libraries would leak this process's choices into the timer.
    environment = {k: v for k, v in os.environ.items() if k in OPT_OUT or not k.startswith(THREAD_VARIABLES)}
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    with subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as process:
        assert process.stderr is not None
        try:
            _follow(process.stderr, tail, progress)
        except BaseException:
            process.kill()
            _outlive(process.stderr)
            raise
    return process.returncode, "".join(tail)


def _outlive(stream: IO[str]) -> None:
    """Wait until all processes have closed a stream, since a browser ends shortly after the timer that started it."""
    end = time.monotonic() + ENDING_SECONDS
    while (left := end - time.monotonic()) > 0 and select.select([stream], [], [], left)[0]:
        if not os.read(stream.fileno(), 2**16):
            return


def _follow(stream: IO[str], tail: deque[str], progress: Callable[[int, int], None] | None) -> None:
    for line in stream:
        words = line.split()
        if len(words) == 3 and words[0] == "progress" and words[1].isdigit() and words[2].isdigit():
            if progress:
                progress(int(words[1]), int(words[2]))
        else:
            tail.append(line)
