"""Where tests find what timing in a browser takes, and what is left of browsers."""

from __future__ import annotations

import os
import shutil
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from edgenas.latency.device import Device, probe
from edgenas.profiling.transports.browser import BROWSERS

CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
_PLACES = [folder / "node_modules" / "onnxruntime-web" for folder in (Path.cwd(), *Path.cwd().parents)]
RUNTIME = Path(os.environ.get("EDGENAS_ONNXRUNTIME_WEB") or next((p for p in _PLACES if p.exists()), _PLACES[0]))
needs_browser = pytest.mark.skipif(
    CHROMIUM is None or find_spec("playwright") is None or not (RUNTIME / "package.json").exists(),
    reason="needs Chromium, playwright, and onnxruntime-web in node_modules or where EDGENAS_ONNXRUNTIME_WEB says",
)


def browser_device(name: str = "web", threads: int = 1) -> Device:
    """The browser on this machine, as a device whose file says where the runtime is."""
    device = probe(name, threads)
    return device.model_copy(update={"run": device.run.in_browser().model_copy(update={"onnxruntime_web": RUNTIME})})


def browsers_below(parent: int) -> list[int]:
    """Processes of browsers that a process began, or processes that it began did."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "stat").read_text(errors="replace").rpartition(")")[2].split()
            found[int(path.name)] = int(words[1]), b"chrom" in (path / "cmdline").read_bytes().split(b"\0")[0]
        except OSError:
            continue
    own, fresh = set(), {parent}
    while fresh:
        fresh = {process for process, (above, _) in found.items() if above in fresh} - own
        own |= fresh
    return sorted(process for process in own if found[process][1])


def still_there(processes: list[int], seconds: float = 10.0) -> list[int]:
    """Those that have not ended after some time."""
    end = time.monotonic() + seconds
    left = processes
    while left and time.monotonic() < end:
        left = [process for process in left if _runs(process)]
        time.sleep(0.05)
    return left


def _runs(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in ("Z", "X")
