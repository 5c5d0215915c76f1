"""How a command ends: one error message on standard error, and the exit code.

0: success. 2: an error that the user can fix. 3: a bundle was written, but its file was not shown to be within its
latency budget. 128 + n: stopped by signal n. 1: any other error. Only a bug shows a traceback.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from typing import Any

from edgenas.environment import working_folder
from edgenas.errors import EdgenasError, Stopped, UserError, first_line, is_out_of_memory
from edgenas.markup import visible

NOT_WITHIN = 3
"""Exit code: a bundle was written, but the latency of its file is over budget, or not significantly within it."""
LONGEST_PATH = 500
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
WRONG_PATH = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP)


@contextlib.contextmanager
def exit_codes() -> Iterator[None]:
    """Turn an exception raised inside into a message and an exit code."""
    open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal's encoding or a file name that is not Unicode must not end a run.
            stream.reconfigure(errors="backslashreplace")
    signals = _Signals()
    try:
        with signals.handled():
            yield
    except KeyboardInterrupt as stop:
        number = signals.number or getattr(stop, "signal_number", None) or signal.SIGINT
        sys.exit(report_stopped(number, stop))
    except Exception as error:
        # A library may have turned a signal's exception into another one.
        sys.exit(_ended_by(error) if signals.number is None else report_stopped(signals.number))


def open_closed_streams() -> None:
    """Open standard input, output and error on the null device if a service has closed them.

    Otherwise the next file that is opened gets the number of a standard stream, and prints would be written to it.
    """
    # All numbers first: a file opened in between would take the next one.
    for number in range(3):
        with contextlib.suppress(OSError):
            _open_number(number)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115


def _open_number(number: int) -> None:
    try:
        os.fstat(number)
    except OSError:
        null = os.open(os.devnull, os.O_RDWR)
        if null != number:
            os.dup2(null, number)
            os.close(null)
        # Child processes inherit it.
        os.set_inheritable(number, True)


def check_working_folder() -> None:
    """Refuse to work in a folder that has been removed, where libraries fail with other errors.

    Raises:
        UserError: the working folder does not exist.
    """
    if working_folder() is None:
        raise UserError(
            "the working folder has been removed or cannot be reached: change to one that exists (cd) and run the "
            "command again"
        )


class _Signals:
    """Handlers that end a process on SIGTERM and SIGHUP as on Ctrl-C: half-written files and timers are cleaned up."""

    def __init__(self) -> None:
        self.number: int | None = None

    @contextlib.contextmanager
    def handled(self) -> Iterator[None]:
        """Raise `Stopped` on a signal inside the block."""
        usual = {"SIGINT": signal.default_int_handler, "SIGTERM": signal.SIG_DFL, "SIGHUP": signal.SIG_DFL}
        # Not every system has all of them.
        defaults: dict[int, Any] = {getattr(signal, name): usual[name] for name in usual if hasattr(signal, name)}
        # A signal that the parent process ignores, as nohup does, stays ignored.
        replaced = [number for number, handler in defaults.items() if signal.getsignal(number) == handler]
        for number in replaced:
            signal.signal(number, self._stop)
        try:
            yield
        finally:
            for number in replaced:
                signal.signal(number, defaults[number])

    def _stop(self, number: int, frame: object) -> None:
        self.number = number
        raise Stopped(number)


def report_stopped(number: int, stop: BaseException | None = None) -> int:
    """Print that a signal stopped the command, with the exception's note; return the exit code."""
    notes = getattr(stop, "__notes__", None) or ["finished work is kept, and the same command resumes from there"]
    _print_error(f"stopped; {notes[0]}")
    return 128 + number


def _ended_by(error: Exception) -> int:
    """Print the error message; return the exit code."""
    if isinstance(error, EdgenasError):
        _print_error(f"error: {error}")
        return 2 if isinstance(error, UserError) else 1
    if is_out_of_memory(error):
        _print_error(
            "error: memory is full, or its limit (ulimit -v, a container's) is too low: start a new run with a smaller "
            "train.batch_size, space or data.limit, or end other programs and run the same command again"
        )
        return 1
    if isinstance(error, OSError) and error.errno is not None:
        return _ended_by_system(error)
    if isinstance(error, ImportError) and not (error.name or "").startswith("edgenas"):
        package = (error.name or "a package").partition(".")[0]
        _print_error(
            f"error: {package} cannot be loaded: {first_line(error)}: install it again (pip install --force-reinstall)"
        )
        return 1
    traceback.print_exception(error)
    _print_error("error: this is a bug of edgenas: please report it with the lines above; finished work is kept")
    return 1


def _ended_by_system(error: OSError) -> int:
    path = f"{str(error.filename)[:LONGEST_PATH]}: " if error.filename is not None else ""
    message = f"error: {path}{error.strerror}"
    if error.errno in FULL:
        _print_error(f"{message}: free some space and run the same command again, which resumes where it stopped")
        return 1
    if error.errno in FORBIDDEN:
        _print_error(f"{message}: change the permissions, or choose another path")
        return 2
    if error.errno in WRONG_PATH:
        _print_error(f"{message}: check the path")
        return 2
    _print_error(message)
    return 1


def _print_error(text: str) -> None:
    with contextlib.suppress(OSError):
        print(*map(visible, text.split("\n")), sep="\n", file=sys.stderr, flush=True)
