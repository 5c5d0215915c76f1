"""The transport to a web browser on this machine: headless Chromium, in which onnxruntime-web runs the models.

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
from edgenas.latency.device import Device, DeviceRun, Precision, probe
from edgenas.profiling.this_machine import differences
from edgenas.profiling.timer_rows import printable, trusted
from edgenas.profiling.transport import Access, Job, Timed, TransportKind
from edgenas.profiling.transports.local import one_by_one, run_bench

PLACE = "browser"
ONLY_HERE = (
    "models are timed in a browser only on the machine that edgenas runs on: run this command on that machine, with "
    "--on browser"
)
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
PACKAGE = "onnxruntime-web"
OLDEST = (1, 22)
"""The first version whose sessions state the types and shapes of their inputs."""
FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
ANSWER_SECONDS = 60


@dataclass(frozen=True)
class BrowserTransport:
    """Times models in a browser on the machine that edgenas runs on.

    Attributes:
        chromium: the browser's executable.
        runtime: the folder of the npm package onnxruntime-web.
    """

    chromium: Path
    runtime: Path

    carried: ClassVar[bool] = False

    def runtime_version(self, measured: str) -> str:
        """Return the version of the installed package and browser; see `Transport`."""
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
            yield Timed(job, model, trusted(row))


class BrowserKind(TransportKind):
    """Serves the browser of this machine: the place `browser`, and devices whose file states it."""

    name = PLACE
    place_form = PLACE
    providers = ("wasm",)
    on_this_machine = True
    start_seconds = 4.0
    """To start a browser, and to run its page until the models are compiled with optimisation."""

    def serves(self, device: Device, access: Access) -> bool:
        """Return whether the device's models run in a browser; see `TransportKind`."""
        return device.run.transport == self.name

    def is_place(self, text: str) -> bool:
        """Return whether a place is `browser`."""
        return text == PLACE

    def open(self, device: Device, access: Access) -> BrowserTransport:
        """Return the way; see `TransportKind`."""
        if device.run.transport not in ("local", self.name):
            raise ConfigError(f"device {device.name} is another machine, and {ONLY_HERE}")
        if differs := differences(device):
            raise ConfigError(
                f"{differs}, and {ONLY_HERE}; or describe the browser on this machine with `edgenas devices probe FILE "
                "--on browser`"
            )
        return find_browser(device.run)

    def as_reached(self, device: Device) -> Device:
        """Return the device with its models in a browser."""
        return device.model_copy(update={"run": device.run.in_browser()})

    def probe(self, place: str, name: str, threads: int, precision: Precision) -> Device:
        """Describe the browser on this machine; see `TransportKind`."""
        return probe_browser(probe(name, threads, precision))


KIND = BrowserKind()


def find_browser(run: DeviceRun) -> BrowserTransport:
    """Find the browser and its runtime on this machine.

    Raises:
        ConfigError: something is missing, or too old; the message says what to install.
    """
    if find_spec("playwright") is None:
        raise ConfigError(
            "timing models in a browser needs playwright, which drives it: pip install 'edgenas[browser]' "
            "(it brings no browser, and needs none of its own)"
        )
    transport = BrowserTransport(_chromium(run.chromium), _runtime(run.onnxruntime_web))
    package_version(transport.runtime)
    return transport


def _chromium(stated: Path | None) -> Path:
    names = BROWSERS if stated is None else (str(user_path(stated)),)
    for path in map(shutil.which, names):
        if path is not None:
            return Path(path)
    problem = f"{stated} is not a program" if stated else f"there is none on the PATH ({', '.join(BROWSERS)})"
    raise ConfigError(
        f"timing models in a browser needs Chromium, and {problem}: install it (Debian: apt-get install chromium), or "
        "give its path in the device file (run.chromium)"
    )


def _runtime(stated: Path | None) -> Path:
    """Return the stated folder, or `node_modules/onnxruntime-web` in the working folder or above it."""
    cwd = Path.cwd()
    above = [folder / "node_modules" / PACKAGE for folder in (cwd, *cwd.parents)]
    for folder in [user_path(stated)] if stated else above:
        if os.path.isfile(folder / "package.json"):
            return folder.resolve()
    missing = f"there is no node_modules/{PACKAGE} in {cwd} or above it"
    problem = f"{stated} holds no package.json" if stated else missing
    raise ConfigError(
        f"timing models in a browser needs {PACKAGE}, and {problem}: npm install {PACKAGE}, or give its path in the "
        "device file (run.onnxruntime_web)"
    )


def package_version(runtime: Path) -> str:
    """Return the version of a package onnxruntime-web, after checking that it is one, and complete.

    Raises:
        ConfigError: it is another package, too old, or incomplete.
    """
    try:
        package = json.loads((runtime / "package.json").read_text(encoding="utf-8"))
        name, version = package["name"], package["version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{runtime}: its package.json cannot be read ({error}): npm install {PACKAGE}") from None
    match = re.fullmatch(r"(\d{1,4})\.(\d{1,4})\.[\w.+-]{1,20}", str(version), re.ASCII)
    if name != PACKAGE or match is None:
        raise ConfigError(f"{runtime}: expected the package {PACKAGE}, got {shown(name)} {shown(version)}")
    if (int(match[1]), int(match[2])) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise ConfigError(
            f"{runtime}: expected {PACKAGE} {oldest} or newer, got {version}: npm install {PACKAGE}@latest"
        )
    lacking = [file for file in FILES if not (runtime / "dist" / file).is_file()]
    if lacking:
        raise ConfigError(f"{runtime} lacks dist/{lacking[0]}: npm install {PACKAGE} again")
    return str(version)


def browser_version(chromium: Path) -> str:
    """Return the version that a browser reports, like `141.0.7390.54`.

    Raises:
        ConfigError: it reports none.
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
        output = done.stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"{chromium} --version: {error}: is it Chromium?") from None
    match = re.search(r"\b(\d{2,4}(?:\.\d{1,6}){3})\b", output[:1000], re.ASCII)
    if match is None:
        raise ConfigError(f"{chromium} --version printed {shown(printable(output, 100))}: is it Chromium?")
    return match[1]


def probe_browser(device: Device) -> Device:
    """Return a device whose models run in the browser on it, after checking that all needed parts are installed.

    Raises:
        ConfigError: something is missing, or too old; the message says what to install.
    """
    run: DeviceRun = device.run.in_browser()
    transport = find_browser(run)
    update: dict[str, Any] = {
        "description": f"probed; {PACKAGE} {package_version(transport.runtime)} in Chromium "
        f"{browser_version(transport.chromium)}",
        "run": run,
    }
    return device.model_copy(update=update)
