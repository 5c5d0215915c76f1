"""How a command ends: what went wrong, in one message on standard error, and the exit code.

0 is success, 2 what the user can put right, 128 + its number a signal, 1 the rest. Only a bug shows a traceback.
3 says that a bundle was written whose file was not shown to be within its latency budget.
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
"""Exit code: a bundle was written, but the latency of its file is not significantly within the budget, or over it."""
LONGEST_PATH = 500
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
WRONG_PATH = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP)


@contextlib.contextmanager
def exit_codes() -> Iterator[None]:
    """Turn what is raised inside into a message and an exit code."""
    open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Neither an old terminal's encoding nor a file name that is no Unicode may end a run.
            stream.reconfigure(errors="backslashreplace")
    signals = _Signals()
    try:
        with signals.taken():
            yield
    except KeyboardInterrupt as stop:
        number = signals.number or getattr(stop, "signal_number", None) or signal.SIGINT
        sys.exit(say_stopped(number, stop))
    except Exception as error:
        # What a signal raised may come out as another error: libraries catch what they do not know.
        sys.exit(_ended_by(error) if signals.number is None else say_stopped(signals.number))


def open_closed_streams() -> None:
    """Give what services close or never open, standard input, output and error, to the null device.

    Otherwise the next file that is opened gets the number of a standard stream, and what is printed lands in it.
    """
    # All numbers first: a file opened between them would take the next one.
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
        # For children, too.
        os.set_inheritable(number, True)


def check_working_folder() -> None:
    """Refuse to work in a folder that has been removed: libraries end there in ways of their own.

    Raises:
        UserError: it is gone.
    """
    if working_folder() is None:
        raise UserError(
            "the folder that this was called in has been removed or cannot be reached: change to one that exists (cd) "
            "and call it again"
        )


class _Signals:
    """What asks a process to end ends it as Ctrl-C does: half-written files are removed, the timer is stopped."""

    def __init__(self) -> None:
        self.number: int | None = None

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Signals are turned into `Stopped` in here."""
        usual = {"SIGINT": signal.default_int_handler, "SIGTERM": signal.SIG_DFL, "SIGHUP": signal.SIG_DFL}
        # Not every system has all of them.
        known: dict[int, Any] = {getattr(signal, name): usual[name] for name in usual if hasattr(signal, name)}
        # Not where the process was told to ignore it, as nohup does.
        taken = [number for number, handler in known.items() if signal.getsignal(number) == handler]
        for number in taken:
            signal.signal(number, self._stop)
        try:
            yield
        finally:
            for number in taken:
                signal.signal(number, known[number])

    def _stop(self, number: int, frame: object) -> None:
        self.number = number
        raise Stopped(number)


def say_stopped(number: int, stop: BaseException | None = None) -> int:
    """Say that a signal stopped the command, and what its notes say is left of it; returns the exit code."""
    notes = getattr(stop, "__notes__", None) or ["what is finished is kept, and the same command goes on from there"]
    _say(f"stopped; {notes[0]}")
    return 128 + number


def _ended_by(error: Exception) -> int:
    """Say what happened; returns the exit code."""
    if isinstance(error, EdgenasError):
        _say(f"error: {error}")
        return 2 if isinstance(error, UserError) else 1
    if is_out_of_memory(error):
        _say(
            "error: memory is full, or a limit on it (ulimit -v, a container's) is too low: set a smaller "
            "train.batch_size or space, or data.limit, in a new run, or end other programs and run the same command "
            "again"
        )
        return 1
    if isinstance(error, OSError) and error.errno is not None:
        return _ended_by_system(error)
    if isinstance(error, ImportError) and not (error.name or "").startswith("edgenas"):
        package = (error.name or "a package").partition(".")[0]
        _say(
            f"error: {package} cannot be loaded: {first_line(error)}: install it again (pip install --force-reinstall)"
        )
        return 1
    traceback.print_exception(error)
    _say("error: this is a bug of edgenas: please report it with the lines above; what is finished is kept")
    return 1


def _ended_by_system(error: OSError) -> int:
    place = f"{str(error.filename)[:LONGEST_PATH]}: " if error.filename is not None else ""
    said = f"{place}{error.strerror}"
    if error.errno in FULL:
        _say(f"error: {said}: free some space and run the same command again: it goes on where it stopped")
        return 1
    if error.errno in FORBIDDEN:
        _say(f"error: {said}: change the permissions, or choose another place")
        return 2
    if error.errno in WRONG_PATH:
        _say(f"error: {said}: check the path")
        return 2
    _say(f"error: {said}")
    return 1


def _say(text: str) -> None:
    with contextlib.suppress(OSError):
        print(*map(visible, text.split("\n")), sep="\n", file=sys.stderr, flush=True)
