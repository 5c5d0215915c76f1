"""Train networks from scratch, several at a time, each in its own process.

A small network uses a second core only part of the time: two networks with one core each are faster than one after
the other with two cores. Processes write their own files and rows, under the lock that their caller holds.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, TypeVar, cast

import joblib
import torch

from edgenas.errors import ConfigError, EdgenasError, Stopped
from edgenas.progress import Progress

Item = TypeVar("Item")


def check_jobs(jobs: int) -> None:
    """Refuse more threads than cores, since threads of a process that wait for each other slow all down.

    Raises:
        ConfigError: too many threads, or fewer than one process.
    """
    if jobs < 1:
        raise ConfigError(f"--jobs: expected at least 1, got {jobs}")
    threads, cores = torch.get_num_threads(), joblib.cpu_count()
    if jobs > 1 and threads > 1 and jobs * threads > cores:
        raise ConfigError(
            f"--jobs {jobs}: with {threads} threads each they need {jobs * threads} cores, got {cores}: "
            "set OMP_NUM_THREADS=1, or use fewer jobs"
        )


def train_each(
    in_process: Callable[[Item, Progress], None],
    in_worker: Callable[[Item, Progress], None],
    items: Sequence[Item],
    jobs: int,
    progress: Progress,
) -> None:
    """Call `in_process` for one item after another, or with several `jobs`, `in_worker` for so many at a time.

    Raises:
        EdgenasError, Stopped: see `train_in_pool`.
    """
    if jobs > 1:
        train_in_pool(in_worker, items, jobs, progress)
        return
    for item in items:
        in_process(item, progress)


def train_in_pool(
    train_network: Callable[[Item, Progress], None], items: Sequence[Item], jobs: int, progress: Progress
) -> None:
    """Call `train_network` for every item in order, in `jobs` worker processes at a time.

    Each has as many threads as torch has in the caller, and its own copy of the images. If the caller is stopped or a
    worker fails, the other workers are terminated and keep their checkpoints. If the caller is killed, workers end by
    themselves.

    Args:
        train_network: saves its result itself; it and the items are pickled.
        items: what to train.
        jobs: processes at a time.
        progress: called in this process with the progress of `train_network`.

    Raises:
        EdgenasError: a process ended without an error message; or any error of `train_network`.
        Stopped: a worker was stopped by a signal from elsewhere.
    """
    waiting, running = list(reversed(items)), dict[Connection, SpawnProcess]()
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                ours, process = _started(train_network, waiting.pop())
                running[ours] = process
            for ready in wait(list(running)):
                pipe = cast(Connection, ready)
                if _forward(pipe, progress):
                    continue
                process = running.pop(pipe)
                process.join()
                _check(process.exitcode)
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.join()


def _started(train_network: Callable[[Item, Progress], None], item: Item) -> tuple[Connection, SpawnProcess]:
    # Forked processes would share torch's locks and threads.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(train_network, item, torch.get_num_threads(), theirs), daemon=True)
    process.start()
    # Only the worker holds its end, so that the pipe ends when the process does.
    theirs.close()
    return ours, process


def _forward(pipe: Connection, progress: Progress) -> bool:
    """Pass on a worker's message; return False when it has ended."""
    try:
        message = pipe.recv()
    except (EOFError, OSError):
        # A worker killed in the middle of a message, too.
        return False
    if isinstance(message, BaseException):
        raise message
    progress(*message)
    return True


def _check(exit_code: int | None) -> None:
    if exit_code in (-signal.SIGTERM, 128 + signal.SIGTERM):
        raise Stopped(signal.SIGTERM)
    if exit_code:
        raise EdgenasError(
            f"a process that trained a network ended with exit code {exit_code}: run the same command again, which "
            "resumes from its checkpoint; with fewer --jobs if memory ran out"
        )


def _work(train_network: Callable[[Any, Progress], None], item: Any, threads: int, pipe: Connection) -> None:
    """Train one item in a worker process."""
    # Terminals signal a whole process group. The caller forwards the signal; a second one would not wait for a step.
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    else:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    # SIGTERM becomes an exception, which waits for the end of a step and its checkpoint.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    torch.set_num_threads(threads)
    try:
        train_network(item, lambda label, done, total: pipe.send((label, done, total)))
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGTERM)
    except BrokenPipeError:
        sys.exit("the caller has ended: stopped")
    except Exception as error:
        with suppress(OSError):
            pipe.send(_sendable(error))


def _sendable(error: Exception) -> Exception:
    """Return the error with its traceback as a note if it survives pickling, else an error with its text."""
    trace = "".join(traceback.format_exception(error))
    try:
        if str(pickle.loads(pickle.dumps(error))) != str(error):
            raise ValueError(str(error))
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note(trace)
    return error
