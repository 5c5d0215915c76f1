"""Resident memory that a model adds to a new process.

`main` runs in that process and prints the numbers of one model as JSON.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from edgenas.environment import module_command
from edgenas.errors import MeasurementError, UserError

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RUNS = 10
LONGEST_SECONDS = 300
LONGEST_MESSAGE = 500


@dataclass(frozen=True)
class MemoryGrowth:
    """Growth of resident memory over a process in which the runtime has run another, small model.

    Attributes:
        load_bytes: growth after loading: weights, also rearranged for the kernels, and the graph.
        peak_bytes: peak growth while loading and running.
    """

    load_bytes: int
    peak_bytes: int


def measure_memory_growth(model: Path, threads: int = 1) -> MemoryGrowth | None:
    """Run a model in a new process and return its memory growth; None if the system does not report it.

    The growth exceeds the computed bytes: the runtime's arena grows by doubling, kernels need memory, and pages are
    counted whole.

    Raises:
        UserError: the runtime cannot run the model.
        MeasurementError: the process failed.
    """
    command = module_command(__name__, str(model), str(threads))
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise MeasurementError(f"{model}: {RUNS} runs took longer than {LONGEST_SECONDS} s") from None
    if done.returncode != 0:
        last = (done.stderr.strip() or "no message").splitlines()[-1][-LONGEST_MESSAGE:]
        raise MeasurementError(
            f"{model}: the process that measures its memory ended with exit code {done.returncode}: {last}"
        )
    value = json.loads(done.stdout)
    if "error" in value:
        raise UserError(value["error"])
    return MemoryGrowth(**value["growth"]) if value["growth"] else None


def _grow(model: Path, threads: int) -> MemoryGrowth | None:
    from edgenas.deploy.inspection.node_times import busy_model
    from edgenas.deploy.onnx.runtime import bound_run, open_session

    if not STATUS.exists():
        return None
    # The first session of a process allocates what all sessions share.
    first = bound_run(open_session(busy_model(), "the busy model", threads), "the busy model")
    _reset_peak()
    before = _status_bytes("VmRSS")
    session = open_session(model, model.name, threads)
    loaded = _status_bytes("VmRSS")
    run = bound_run(session, model.name)
    for _ in range(RUNS):
        run()
    peak = max(_status_bytes("VmHWM"), loaded)
    first()
    return MemoryGrowth(loaded - before, peak - before)


def _reset_peak() -> None:
    """Reset the peak, which imports raised; if this is not permitted, the peak may be that of the imports."""
    try:
        RESET.write_text("5")
    except OSError:
        return


def _status_bytes(name: str) -> int:
    # Not getrusage: its ru_maxrss begins with the peak of the process that started this one.
    match = re.search(rf"^{name}:\s+(\d+) kB$", STATUS.read_text(), re.MULTILINE)
    assert match is not None
    return 1024 * int(match[1])


def main() -> None:
    """Print the growth for the model and threads of the command line, null if unknown, or the error."""
    try:
        growth = _grow(Path(sys.argv[1]), int(sys.argv[2]))
    except UserError as error:
        print(json.dumps({"error": str(error)}))
    else:
        print(json.dumps({"growth": asdict(growth) if growth else None}))
