"""Networks that are taught alone, several at a time: each in a process of its own.

A small network keeps a second core busy for part of the time only; two networks, one core each, are taught in less time
than one after the other with two.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, TypeVar

import torch

from edgenas.errors import EdgenasError, Stopped
from edgenas.pipeline.run import Progress

Item = TypeVar("Item")


def teach_apart(teach: Callable[[Item, Progress], None], items: Sequence[Item], jobs: int, progress: Progress) -> None:
    """Call `teach` for every item, `jobs` at a time; begun in their order.

    Each has as many threads as torch has here. Stopped, or where one of them fails, the others are asked to end, which
    leaves their checkpoints; killed, so that nobody hears them, they end by themselves.

    Args:
        teach: keeps what it finds by itself; it and the items are pickled.
        items: what to teach.
        jobs: processes at a time.
        progress: of `teach`, called here.

    Raises:
        EdgenasError: a process ended without a word; or whatever `teach` raises.
    """
    waiting, running = list(reversed(items)), dict[Connection, SpawnProcess]()
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                ours, process = _begun(teach, waiting.pop())
                running[ours] = process
            for pipe in wait(list(running)):
                assert isinstance(pipe, Connection)
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


def _begun(teach: Callable[[Item, Progress], None], item: Item) -> tuple[Connection, SpawnProcess]:
    # Forked processes would share locks and threads of torch's.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(teach, item, torch.get_num_threads(), theirs))
    process.start()
    # Ours alone: so that the pipe ends where the process does.
    theirs.close()
    return ours, process


def _told(pipe: Connection, progress: Progress) -> bool:
    """Pass on what a process says; whether it may say more."""
    try:
        said = pipe.recv()
    except EOFError:
        return False
    if isinstance(said, BaseException):
        raise said
    progress(*said)
    return True


def _check(exit_code: int | None) -> None:
    if exit_code == -signal.SIGINT or exit_code == 128 + signal.SIGINT:
        raise Stopped(signal.SIGINT)
    if exit_code:
        raise EdgenasError(
            f"a process that taught a network ended with exit code {exit_code}: run the same command again, which goes "
            "on from its checkpoint; with fewer --jobs if memory ran out"
        )


def _work(teach: Callable[[Any, Progress], None], item: Any, threads: int, pipe: Connection) -> None:
    """What a process does: teach one item."""
    # A request to end becomes an exception, which waits for the end of a step and its checkpoint.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    torch.set_num_threads(threads)
    try:
        teach(item, lambda label, done, total: pipe.send((label, done, total)))
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:
        sys.exit("nobody listens any more: ended")
    except Exception as error:
        with suppress(OSError):
            pipe.send(error)
