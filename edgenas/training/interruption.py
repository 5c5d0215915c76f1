"""Signals that ask the process to end, and work that must not be left half done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

from edgenas.errors import Stopped

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
Handler = Callable[[int, FrameType | None], Any]


class Held:
    """Within it, a signal that asks the process to end waits until the end; a second one does not wait.

    Signals that nobody in Python handles end the process as ever, and other threads than the main one get none.

    Attributes:
        number: of the signal that waits; None so far.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._handlers: dict[int, Handler] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            # Not every system has all of them.
            known = {getattr(signal, name): None for name in SIGNALS if hasattr(signal, name)}
            handlers = {number: signal.getsignal(number) for number in known}
            self._handlers = {number: handler for number, handler in handlers.items() if callable(handler)}
        self._hold()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._let_go()
        if error is None:
            self.pass_on()

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Signals do not wait in here, nor does one that came before."""
        self._let_go()
        try:
            self.pass_on()
            yield
        finally:
            self._hold()

    def pass_on(self) -> None:
        """Do what the signal that waits would have done, if there is one.

        Raises:
            KeyboardInterrupt: as a rule.
        """
        if self.number is not None:
            number, self.number = self.number, None
            self._handlers[number](number, None)

    def stop(self) -> None:
        """End as the signal that waits wants it; or, where it came to another process of a group, as if it came here.

        Raises:
            KeyboardInterrupt: always.
        """
        self.pass_on()
        raise Stopped(signal.SIGTERM)

    def _hold(self) -> None:
        for number in self._handlers:
            signal.signal(number, self._wait)

    def _let_go(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _wait(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None:
            self._handlers[number](number, frame)
        self.number = number
