"""Processes that start in milliseconds: they are forked from a server that has imported torch, once for each worker.

They are killed, and end with a code, as others do. Tests of how a process starts start one of their own instead.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping
from multiprocessing import forkserver
from pathlib import Path
from typing import Any
from unittest import mock

CONTEXT = multiprocessing.get_context("forkserver")
LOADED_WHEN_NEEDED = ("scipy.stats", "sklearn.gaussian_process", "torch.export._trace")
"""Slow modules that stages import as late as possible, so that each process would load them again."""
CONTEXT.set_forkserver_preload(
    ["torch._dynamo", "onnxscript", "edgenas.cli.commands", "edgenas.stages.whole_run", *LOADED_WHEN_NEEDED]
)
SOURCES = (Path(__file__).parent, Path(__file__).parents[1])


def start_server() -> str:
    """Start the server that processes are forked from, unless it runs; return where it looks for modules."""
    # Where this process does.
    path = os.pathsep.join([*map(str, SOURCES), *filter(None, sys.path)])
    with mock.patch.dict(os.environ, {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}):
        forkserver.ensure_running()
    return path


class Forked:
    """A process that calls a function of a module, with the methods of `subprocess.Popen`.

    Args:
        function: what it calls; warnings are errors, as with `python -W error`.
        arguments: what it passes.
        cwd: its working folder.
        stdout: the file that its standard output is appended to.
        stderr: the file of its standard error.
        environment: added to this process's.
    """

    def __init__(
        self,
        function: Callable[..., None],
        *arguments: Any,
        cwd: Path,
        stdout: Path,
        stderr: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        path = start_server()
        self.stdout, self.stderr = stdout, stderr
        own = dict(os.environ) | {"PYTHONPATH": path, **(environment or {})}
        self._process = CONTEXT.Process(target=_call, args=(function, arguments, cwd, own, stdout, stderr))
        self._process.start()

    def poll(self) -> int | None:
        """Return the exit code, -n after signal n; None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float = 400) -> int:
        """Wait for its end and return the exit code."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(str(self._process), timeout)
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        self._process.kill()

    def ended(self) -> subprocess.CompletedProcess[str]:
        """Wait for its end and return its code and all that its two files hold."""
        code = self.wait()
        return subprocess.CompletedProcess(self._process.name, code, self.stdout.read_text(), self.stderr.read_text())


def command_line(*arguments: str) -> None:
    """Call `edgenas ARGUMENTS`."""
    from edgenas.cli import main

    sys.argv = ["edgenas", *arguments]
    main()


def script(path: Path, *arguments: str) -> None:
    """Run `python PATH ARGUMENTS`."""
    sys.argv = [str(path), *arguments]
    runpy.run_path(str(path), run_name="__main__")


def _call(
    function: Callable[..., None],
    arguments: tuple[Any, ...],
    cwd: Path,
    environment: Mapping[str, str],
    stdout: Path,
    stderr: Path,
) -> None:
    for number, path in ((1, stdout), (2, stderr)):
        with open(path, "ab") as stream:
            os.dup2(stream.fileno(), number)
    os.environ.clear()
    os.environ.update(environment)
    warnings.simplefilter("error")
    os.chdir(cwd)
    function(*arguments)
