"""Helpers for tests of edgenas and of its extensions: a synthetic device, and what every search strategy must do.

    from edgenas.profiling.transport_registry import TransportRegistry, mounted
    from edgenas.testing import FakeTransport, STRATEGY_CHECKS, check_strategy

Nothing here needs pytest.
"""

from edgenas.testing.fake_transport import FakeTransport, graph_latency_us
from edgenas.testing.strategy_conformance import STRATEGY_CHECKS, check_strategy

__all__ = ["STRATEGY_CHECKS", "FakeTransport", "check_strategy", "graph_latency_us"]
