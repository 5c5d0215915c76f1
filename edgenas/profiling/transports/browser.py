"""A web browser on this machine: headless Chromium, in which onnxruntime-web runs the models as WebAssembly.

The kit's bench_browser.py starts one for every job, with a page that does what bench.py does in a process.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from edgenas.environment import script_command
from edgenas.errors import ConfigError, shown
from edgenas.files import shipped, user_path
from edgenas.latency.device import Device, DeviceRun
from edgenas.profiling.timer_rows import believed, printable
from edgenas.profiling.transport import Job, Timed
from edgenas.profiling.transports.local import one_by_one, run_bench

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
PACKAGE = "onnxruntime-web"
OLDEST = (1, 22)
"""The first version whose sessions tell of what type and shape their inputs are."""
FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
ANSWER_SECONDS = 60


@dataclass(frozen=True)
class BrowserTransport:
    """Times models in a browser where edgenas runs.

    Attributes:
        chromium: the browser's executable.
        runtime: the folder of the npm package onnxruntime-web.
    """

    chromium: Path
    runtime: Path

    at_once: ClassVar[bool] = False

    def runtime_version(self, kept: str) -> str:
        """Of the package and the browser that are installed; see `Transport`."""
        return f"{package_version(self.runtime)}+chromium{browser_version(self.chromium).partition('.')[0]}"

    def time(
        self, jobs: Sequence[Job], device: Device, progress: Callable[[int, int], None] | None = None
    ) -> Generator[Timed, None, None]:
        """Time one job after another, each in a fresh browser; see `Transport`."""
        timer = [
            *script_command(shipped("export") / "bench_browser.py", "--with-parent"),
            *("--chromium", str(self.chromium), "--runtime", str(self.runtime)),
        ]
        for job, model, row in one_by_one(functools.partial(run_bench, timer=timer), jobs, device.run, progress):
            yield Timed(job, model, believed(row))


def find_browser(run: DeviceRun) -> BrowserTransport:
    """The way into a browser on this machine.

    Raises:
        ConfigError: something is missing, or too old: it is named with what to do.
    """
    if find_spec("playwright") is None:
        raise ConfigError(
            "timing models in a browser needs playwright, which drives it: pip install 'edgenas[browser]' "
            "(it brings no browser, and needs none of its own)"
        )
    transport = BrowserTransport(_chromium(run.chromium), _runtime(run.onnxruntime_web))
    package_version(transport.runtime)
    return transport


def _chromium(said: Path | None) -> Path:
    names = BROWSERS if said is None else (str(user_path(said)),)
    for found in map(shutil.which, names):
        if found is not None:
            return Path(found)
    came = f"{said} is no program" if said else f"there is none on the PATH ({', '.join(BROWSERS)})"
    raise ConfigError(
        f"timing models in a browser needs Chromium, and {came}: install it (Debian: apt-get install chromium), or say "
        "in the device file where it is (run.chromium)"
    )


def _runtime(said: Path | None) -> Path:
    """The folder that is said, or `node_modules/onnxruntime-web` here or further up."""
    here = Path.cwd()
    places = [user_path(said)] if said else [folder / "node_modules" / PACKAGE for folder in (here, *here.parents)]
    for place in places:
        if os.path.isfile(place / "package.json"):
            return place.resolve()
    came = f"{said} holds no package.json" if said else f"there is no node_modules/{PACKAGE} in {here} or above it"
    raise ConfigError(
        f"timing models in a browser needs {PACKAGE}, and {came}: npm install {PACKAGE}, or say in the device file "
        "where it is (run.onnxruntime_web)"
    )


def package_version(runtime: Path) -> str:
    """The version of a package onnxruntime-web, once it is known to be one, and whole.

    Raises:
        ConfigError: it is something else, or too old, or lacks files.
    """
    try:
        said = json.loads((runtime / "package.json").read_text(encoding="utf-8"))
        name, version = said["name"], said["version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{runtime}: its package.json cannot be read ({error}): npm install {PACKAGE}") from None
    match = re.fullmatch(r"(\d{1,4})\.(\d{1,4})\.[\w.+-]{1,20}", str(version), re.ASCII)
    if name != PACKAGE or match is None:
        raise ConfigError(f"{runtime}: wanted the package {PACKAGE}, got {shown(name)} {shown(version)}")
    if (int(match[1]), int(match[2])) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise ConfigError(f"{runtime}: wanted {PACKAGE} {oldest} or newer, got {version}: npm install {PACKAGE}@latest")
    lacking = [file for file in FILES if not (runtime / "dist" / file).is_file()]
    if lacking:
        raise ConfigError(f"{runtime} lacks dist/{lacking[0]}: npm install {PACKAGE} again")
    return str(version)


def browser_version(chromium: Path) -> str:
    """What a browser says its version is, like `141.0.7390.54`.

    Raises:
        ConfigError: it says none.
    """
    try:
        done = subprocess.run(
            [str(chromium), "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=ANSWER_SECONDS,
            check=False,
        )
        said = done.stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"{chromium} --version: {error}: is it Chromium?") from None
    match = re.search(r"\b(\d{2,4}(?:\.\d{1,6}){3})\b", said[:1000], re.ASCII)
    if match is None:
        raise ConfigError(f"{chromium} --version says {shown(printable(said, 100))}: is it Chromium?")
    return match[1]


def probe_browser(device: Device) -> Device:
    """A device as the browser on it, once all it takes is known to be there.

    Raises:
        ConfigError: something is missing, or too old: it is named with what to do.
    """
    run: DeviceRun = device.run.in_browser()
    transport = find_browser(run)
    found: dict[str, Any] = {
        "description": f"probed; {PACKAGE} {package_version(transport.runtime)} in Chromium "
        f"{browser_version(transport.chromium)}",
        "run": run,
    }
    return device.model_copy(update=found)
