"""Where a search benchmark ran: what stands beside its figures."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from edgenas.latency.device import probe

LIBRARIES = ("numpy", "scipy", "pymoo", "moocore", "scikit-learn")


def machine() -> dict[str, Any]:
    """The processor and the libraries that decide on figures and seconds."""
    here = probe()
    versions = {name: version(name) for name in LIBRARIES}
    return {"cpu": here.cpu, "cores": here.cores, "os": here.os, "versions": versions}
