"""Train networks from scratch, several at a time, each in its own process.

A small network keeps a second core busy for part of the time only. Two networks with one core each take less time than
one after the other with two cores. Processes write their own files and rows, under the lock that their caller holds.
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
from edgenas.runs.folder import Progress

Item = TypeVar("Item")


def check_jobs(jobs: int) -> None:
    """Refuse more threads than there are cores for: where those of a process wait for each other, all takes far longer.

    Raises:
        ConfigError: as that, or no process at all.
    """
    if jobs < 1:
        raise ConfigError(f"--jobs: wanted at least 1, got {jobs}")
    threads, cores = torch.get_num_threads(), joblib.cpu_count()
    if jobs > 1 and threads > 1 and jobs * threads > cores:
        raise ConfigError(
            f"--jobs {jobs}: with {threads} threads each they want {jobs * threads} cores, and there are {cores}: "
            "set OMP_NUM_THREADS=1, or take fewer jobs"
        )


def train_each(
    here: Callable[[Item, Progress], None],
    apart: Callable[[Item, Progress], None],
    items: Sequence[Item],
    jobs: int,
    progress: Progress,
) -> None:
    """Call `here` for one item after another; where there are several `jobs`, `apart` for so many at a time.

    Raises:
        EdgenasError, Stopped: see `train_apart`.
    """
    if jobs > 1:
        train_apart(apart, items, jobs, progress)
        return
    for item in items:
        here(item, progress)


def train_apart(
    train_network: Callable[[Item, Progress], None], items: Sequence[Item], jobs: int, progress: Progress
) -> None:
    """Call `train_network` for every item, `jobs` at a time; begun in their order.

    Each has as many threads as torch has here, and images of its own in memory. Stopped, or where one of them fails,
    the others are asked to end, which leaves their checkpoints; where the caller is killed, they end by themselves.

    Args:
        train_network: keeps what it finds by itself; it and the items are pickled.
        items: what to train.
        jobs: processes at a time.
        progress: of `train_network`, called here.

    Raises:
        EdgenasError: a process ended without a word; or whatever `train_network` raises.
        Stopped: a process was asked to end, and not from here.
    """
    waiting, running = list(reversed(items)), dict[Connection, SpawnProcess]()
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                ours, process = _begun(train_network, waiting.pop())
                running[ours] = process
            for ready in wait(list(running)):
                pipe = cast(Connection, ready)
                if _told(pipe, progress):
                    continue
                process = running.pop(pipe)
                process.join()
                _check(process.exitcode)
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.join()


def _begun(train_network: Callable[[Item, Progress], None], item: Item) -> tuple[Connection, SpawnProcess]:
    # Forked processes would share locks and threads of torch's.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(train_network, item, torch.get_num_threads(), theirs), daemon=True)
    process.start()
    # Ours alone: so that the pipe ends where the process does.
    theirs.close()
    return ours, process


def _told(pipe: Connection, progress: Progress) -> bool:
    """Pass on what a process says; whether it may say more."""
    try:
        said = pipe.recv()
    except (EOFError, OSError):
        # Killed in the middle of a word, too.
        return False
    if isinstance(said, BaseException):
        raise said
    progress(*said)
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
    """What a process does: train one item."""
    # What is sent to a whole group, as terminals do, is for the caller, who asks: a second request would not wait.
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    else:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    # This one becomes an exception, which waits for the end of a step and its checkpoint.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    torch.set_num_threads(threads)
    try:
        train_network(item, lambda label, done, total: pipe.send((label, done, total)))
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGTERM)
    except BrokenPipeError:
        sys.exit("nobody listens any more: ended")
    except Exception as error:
        with suppress(OSError):
            pipe.send(_sendable(error))


def _sendable(error: Exception) -> Exception:
    """The error, with the way it took as a note, if it stays the same on its way through a pipe; else its text."""
    told = "".join(traceback.format_exception(error))
    try:
        if str(pickle.loads(pickle.dumps(error))) != str(error):
            raise ValueError(str(error))
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note(told)
    return error
