"""Signals that ask the process to end, deferred while work must not be left half done."""

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


class DeferredSignals:
    """A context that defers signals which ask the process to end.

    The first signal is handled when the context ends; a second one is handled at once. Signals without a Python handler
    end the process as usual. Threads other than the main one receive none.

    Attributes:
        number: the deferred signal; None if there is none.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._handlers: dict[int, Handler] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            # Not every system has all of them.
            numbers = [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]
            handlers = {number: signal.getsignal(number) for number in numbers}
            self._handlers = {number: handler for number, handler in handlers.items() if callable(handler)}
        self._install()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()
        if error is None:
            self.deliver()

    @contextmanager
    def delivered(self) -> Iterator[None]:
        """Deliver signals at once in this context, including one that was deferred before."""
        self._restore()
        try:
            self.deliver()
            yield
        finally:
            self._install()

    def deliver(self) -> None:
        """Call the original handler of the deferred signal, if there is one.

        Raises:
            KeyboardInterrupt: as a rule.
        """
        if self.number is not None:
            number, self.number = self.number, None
            self._handlers[number](number, None)

    def stop(self) -> None:
        """Deliver the deferred signal; if another process of the group received it, end as if this one had.

        Raises:
            KeyboardInterrupt: always.
        """
        self.deliver()
        raise Stopped(signal.SIGTERM)

    def _install(self) -> None:
        for number in self._handlers:
            signal.signal(number, self._defer)

    def _restore(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _defer(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None:
            self._handlers[number](number, frame)
        self.number = number
