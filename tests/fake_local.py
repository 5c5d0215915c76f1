"""A synthetic device that stands in for this machine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from edgenas.profiling.transport_registry import TransportRegistry, mounted, shipped_kinds
from edgenas.profiling.transports.local import KIND as LOCAL
from edgenas.testing import FakeTransport


@contextlib.contextmanager
def fake_local(transport: FakeTransport | None = None) -> Iterator[FakeTransport]:
    """Mount a `FakeTransport` beside the shipped transports; by default one without noise."""
    transport = transport or FakeTransport(instead_of=LOCAL)
    with mounted(TransportRegistry(kinds=(transport, *shipped_kinds()))):
        yield transport
