"""The machine that a benchmark's figures were made on."""

from __future__ import annotations

import os
from importlib.metadata import version
from typing import Any

import torch

from edgenas.latency.device import probe


def machine() -> dict[str, Any]:
    """Processor, system, threads of torch, and the load average of the last minute."""
    here = probe()
    return {
        "cpu": here.cpu,
        "cores": here.cores,
        "os": here.os,
        "threads": torch.get_num_threads(),
        "load_average": round(os.getloadavg()[0], 2),
    }


def versions(*libraries: str) -> dict[str, str]:
    """Return the versions of the libraries that affect figures and seconds."""
    return {name: version(name) for name in libraries}
