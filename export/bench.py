#!/usr/bin/env python3
"""Time ONNX models on this machine: one file, Python 3.9 or newer, NumPy and ONNX Runtime.

    python bench.py MODEL_OR_FOLDER... [--threads 1] [--rounds 20] [--sessions 4] [--out rows.jsonl]
    python bench.py --jobs jobs.json     time the models of a kit; writes rows.jsonl and results.zip next to it
    python bench.py --probe              describe this machine as one JSON line

Sessions. The memory addresses of a process shift a model's latency for the life of the process, so the rounds are
split over several processes, one after another. A command that was stopped resumes with the first unfinished session.

Protocol of a session. All models are loaded and warmed up until their latency is stable. Each round times every model
once, in random order, together with a sentinel (always the same matrix product) and an empty model. One repetition is
a few untimed runs, then short timed ones, with the garbage collector off. The model after the sentinel begins with
12 ms of untimed runs, because the sentinel's wide vectors can slow a core's clock by a tenth for 8 ms. Interleaving
spreads a burst of foreign load over all models. The sentinel shows whether the machine itself became slower, and the
empty model measures the overhead of a call (`call_overhead_ms`).

Runs use an IOBinding with inputs and outputs allocated once. `session.run` allocates its outputs at every call, so a
block with a big output would have page faults that it does not have inside a network, which reuses its arena. The
overhead is also smaller (2 µs instead of 4) and steadier.

Output: one JSON object per line and model, to --out (appended) or standard output. Times are milliseconds. A model
that cannot be loaded or run gets a line with `error`, the others are still timed, and the exit code is 1. Standard
error has lines `progress DONE TOTAL`. Exit code 3: NumPy or ONNX Runtime is missing.
"""

from __future__ import annotations

import sys

if __name__ == "__main__" and not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):
    # The folder of this file may contain someone's own random.py. Python before 3.11 has no option against it.
    del sys.path[0]

import argparse
import base64
import contextlib
import datetime
import gc
import hashlib
import json
import os
import platform
import random
import re
import signal
import subprocess
import tempfile
import time
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Callable, NamedTuple

# Read by ONNX Runtime at import; without it, it writes an id into the home folder, and a thread sends reports.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

try:
    import numpy as np
    import onnxruntime as ort
except ImportError as missing:
    print(
        f"bench: {missing}: this needs Python 3.9 or newer (this is {platform.python_version()}) and two packages:\n"
        f"    {sys.executable or 'python3'} -m pip install numpy onnxruntime",
        file=sys.stderr,
    )
    sys.exit(3)

SCHEMA_VERSION = 1
PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "xnnpack": "XnnpackExecutionProvider",
    "acl": "ACLExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "azure": "AzureExecutionProvider",
}
LEVELS = {
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "disable": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
}
DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}

# Serialised with onnx.helper, opset 13, IR version 7 (readable by every runtime since 1.3): one Identity of a
# float [1], and four chained MatMul of a float [128, 128] with itself (8.4 million MACs, no weights).
EMPTY_MODEL = base64.b64decode(
    "CAcSADo7ChAKAXgSAXkiCElkZW50aXR5EgVlbXB0eVoPCgF4EgoKCAgBEgQKAggBYg8KAXkSCgoICAESBAoCCAFCBAoAEA0="
)
SENTINEL_MODEL = base64.b64decode(
    "CAcSADqKAQoSCgF4CgF4EgJ0MCIGTWF0TXVsChMKAnQwCgF4EgJ0MSIGTWF0TXVsChMKAnQxCgF4EgJ0MiIGTWF0TXVsChIKAnQy"
    "CgF4EgF5IgZNYXRNdWwSCHNlbnRpbmVsWhUKAXgSEAoOCAESCgoDCIABCgMIgAFiFQoBeRIQCg4IARIKCgMIgAEKAwiAAUIECgAQDQ=="
)

UNSUPPORTED = ("Fail", "InvalidGraph", "NotImplemented")
"""Errors of a runtime that does not support an operator or opset of a model."""
UNTIMED_RUNS = 2
SETTLE_NS, MAX_SETTLE_RUNS = 12_000_000, 10_000
MIN_RUNS, MAX_RUNS = 5, 200
REPETITION_NS = 4_000_000
MAX_REPETITION_NS = 500_000_000
WARM_UP_BATCHES = 15
WARM_UP_TOLERANCE = 0.03
MAX_RAW_SAMPLES = 200
BOOTSTRAPS = 1000
CORES = "/sys/devices/system/cpu"
DRIFT_LIMIT = 0.05
SPREAD_LIMIT = 0.10
LOAD_LIMIT = 0.3
TEMPERATURE_LIMIT = 80.0
SLOWED_LIMIT = 0.9
CLOCK_JUMP_NS = 5_000_000_000
CLOCK_JUMP_FACTOR = 50
ZIP_DATE = (1980, 1, 1, 0, 0, 0)
"""Date of all entries: a board without a clock is in 1970, before the first date that a zip can state."""
SESSIONS = 4
SETTING = ("threads", "provider", "optimisation_level", "spinning")
INFERENCE_FLAGS = re.compile(
    r"sse4|avx|f16c|fma|amx|neon|asimd|fphp|i8mm|bf16|sve|sme[0-9_]*$|rvv|v$|zvfh|altivec|vsx|la?sx"
)

Clock = Callable[[], int]
Run = Callable[[], Any]
Timed = list[list[int]]
"""Samples of one model by round, in nanoseconds."""


# ---------------------------------------------------------------- timing


def time_repetition(run: Run, runs: int, clock: Clock, settle_ns: int = 0) -> list[int]:
    """Time `runs` runs one by one, in nanoseconds, after at least `settle_ns` of untimed runs that warm the caches."""
    begun = clock()
    for _ in range(UNTIMED_RUNS):
        run()
    for _ in range(MAX_SETTLE_RUNS):
        if clock() - begun >= settle_ns:
            break
        run()
    samples = [0] * runs
    for index in range(runs):
        start = clock()
        run()
        samples[index] = clock() - start
    return samples


def runs_per_repetition(typical_ns: float) -> int:
    """Return the runs of a repetition: about 4 ms, at least five, fewer if five take over half a second."""
    typical_ns = max(typical_ns, 1.0)
    runs = min(max(int(REPETITION_NS / typical_ns), MIN_RUNS), MAX_RUNS)
    return max(1, min(runs, int(MAX_REPETITION_NS / typical_ns)))


def warm_up(run: Run, clock: Clock) -> int:
    """Run until two batches agree within 3 %, and return the number of runs of a repetition."""
    before, runs = float(np.median(time_repetition(run, 1, clock))), 1
    for _ in range(WARM_UP_BATCHES):
        runs = runs_per_repetition(before)
        now = float(np.median(time_repetition(run, runs, clock)))
        if abs(now - before) <= WARM_UP_TOLERANCE * before:
            return runs_per_repetition(now)
        before = now
    return runs


def interleave(
    runs: dict[str, Run],
    repetition_runs: dict[str, int],
    rounds: int,
    seed: int,
    clock: Clock,
    tick: Callable[[], None],
) -> dict[str, Timed]:
    """Time all models in rounds, each in a new random order."""
    order = random.Random(seed)
    timed: dict[str, Timed] = {name: [] for name in runs}
    before = ""
    for _ in range(rounds):
        names = list(runs)
        order.shuffle(names)
        with gc_disabled():
            for name in names:
                settle_ns = SETTLE_NS if before == "sentinel" else 0
                timed[name].append(time_repetition(runs[name], repetition_runs[name], clock, settle_ns))
                before = name
                tick()
    return timed


@contextlib.contextmanager
def gc_disabled() -> Iterator[None]:
    """Collect garbage now, and not again inside the context."""
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


# ---------------------------------------------------------------- statistics


def without_jumps(timed: Timed) -> tuple[Timed, int]:
    """Remove impossible samples and count them: the clock went back, or jumped by seconds (the machine slept)."""
    typical = float(np.median([value for samples in timed for value in samples]))
    longest = max(CLOCK_JUMP_NS, CLOCK_JUMP_FACTOR * typical)
    valid = [[value for value in samples if 0 < value < longest] for samples in timed]
    return [samples for samples in valid if samples], sum(map(len, timed)) - sum(map(len, valid))


def round_medians(timed: Timed) -> np.ndarray:
    """Return the median of every round in milliseconds, shape (rounds,)."""
    return np.array([np.median(samples) for samples in timed]) / 1e6


def confidence_interval(medians: np.ndarray, level: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the median over rounds (Efron 1979).

    Rounds are drawn, not samples: the samples of one repetition share its circumstances and are not independent.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(medians), (BOOTSTRAPS, len(medians)))
    tails = [50 * (1 - level), 50 * (1 + level)]
    low, high = np.percentile(np.median(medians[drawn], axis=1), tails)
    return float(low), float(high)


def spread(medians: np.ndarray) -> float:
    """Return the robust relative standard deviation: 1.4826 × median absolute deviation / median."""
    middle = float(np.median(medians))
    return float(1.4826 * np.median(np.abs(medians - middle)) / middle) if middle else 0.0


def drift(medians: np.ndarray) -> float:
    """Return the relative range of the medians of four consecutive parts of the rounds."""
    parts = [float(np.median(part)) for part in np.array_split(medians, min(4, len(medians)))]
    return (max(parts) - min(parts)) / min(parts) if min(parts) > 0 else 0.0


def statistics(timed: Timed, max_raw: int = MAX_RAW_SAMPLES) -> dict[str, Any]:
    """Return the measured part of a row, in milliseconds, with up to `max_raw` raw samples, evenly chosen.

    Raises:
        ValueError: the clock never advanced.
    """
    timed, jumps = without_jumps(timed)
    if not timed:
        raise ValueError("the clock of this machine does not advance")
    pooled = np.concatenate([np.asarray(samples, dtype=np.float64) for samples in timed]) / 1e6
    medians = round_medians(timed)
    quantiles = {f"p{percent}": float(np.percentile(pooled, percent)) for percent in (10, 50, 90, 95, 99)}
    low, high = confidence_interval(medians)
    raw = np.linspace(0, len(pooled) - 1, min(len(pooled), max_raw)).astype(int)
    return {
        "latency_ms": {
            "mean": float(pooled.mean()),
            "min": float(pooled.min()),
            "max": float(pooled.max()),
            **quantiles,
            "std": float(pooled.std()),
        },
        "raw_samples_ms": pooled[raw].tolist(),
        "rounds_p50_ms": medians.tolist(),
        # The p50 of all samples may lie just outside the medians of rounds when repetitions differ in length.
        "ci_p50_ms": [min(low, quantiles["p50"]), max(high, quantiles["p50"])],
        "count": len(pooled),
        "clock_jumps": jumps,
        "round_spread": spread(medians),
    }


def model_warnings(timed: Timed) -> list[str]:
    """Return warnings about one model's samples."""
    timed, jumps = without_jumps(timed)
    warnings = []
    if jumps:
        warnings.append(f"the clock jumped {jumps} times; those samples are left out: keep the machine from sleeping")
    relative_spread = spread(round_medians(timed))
    if relative_spread > SPREAD_LIMIT:
        warnings.append(
            f"rounds differ by {relative_spread:.0%} (limit {SPREAD_LIMIT:.0%}): stop other programs, add --rounds"
        )
    return warnings


def machine_warnings(sentinel: Timed, before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return warnings about the machine during the measurement, each with advice."""
    warnings = []
    sentinel_drift = drift(round_medians(sentinel))
    if sentinel_drift > DRIFT_LIMIT:
        warnings.append(
            f"the sentinel drifted by {sentinel_drift:.0%} (limit {DRIFT_LIMIT:.0%}): let the machine cool, fix its "
            "clock, stop other programs, and measure again"
        )
    load = foreign_load(before, after)
    if load is not None and load > LOAD_LIMIT:
        warnings.append(f"other programs kept {load:.1f} cores busy: stop them and measure again")
    governor = before.get("governor")
    if governor is not None and governor != "performance":
        warnings.append(f"the frequency governor is {governor!r}: set it to performance, or as in use")
    heat = after.get("temperature_celsius")
    if heat is not None and heat >= TEMPERATURE_LIMIT:
        warnings.append(f"{heat:.0f} °C at the end (limit {TEMPERATURE_LIMIT:.0f}): the clock may be throttled")
    return warnings + throttling_warnings(before, after)


def throttling_warnings(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return warnings about a processor clock that was lowered during the measurement."""
    warnings = []
    events = [side.get("throttle_events") for side in (before, after)]
    if None not in events and events[1] > events[0]:
        warnings.append("the processor throttled its clock: cool it, or give it more power, and measure again")
    clocks = [side.get("frequency_hz") for side in (before, after)]
    if None not in clocks and clocks[1] < SLOWED_LIMIT * clocks[0]:
        warnings.append(
            f"the clock fell from {clocks[0] / 1e9:.2f} to {clocks[1] / 1e9:.2f} GHz: let the machine cool, fix its "
            "clock, and measure again"
        )
    return warnings


# ---------------------------------------------------------------- sessions


def open_session(model: Any, args: argparse.Namespace, profile: str = "") -> ort.InferenceSession:
    """Return a session in the given setting; `model` is a path or serialised bytes."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = args.threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = LEVELS[args.optimisation_level]
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if args.spinning else "0")
    options.log_severity_level = 3
    if profile:
        options.enable_profiling = True
        options.profile_file_prefix = profile
    model = model if isinstance(model, bytes) else str(model)
    return ort.InferenceSession(model, options, providers=[PROVIDERS[args.provider]])


def bound_run(session: ort.InferenceSession, seed: int) -> Run:
    """Return a function that runs the session on seeded random inputs, with all memory allocated once."""
    rng = np.random.default_rng(seed)
    feeds = {node.name: random_input(node, rng) for node in session.get_inputs()}
    results = session.run(None, feeds)
    binding = session.io_binding()
    for name, value in feeds.items():
        binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(value))
    for node, value in zip(session.get_outputs(), results):
        if isinstance(value, np.ndarray) and value.dtype != object:
            binding.bind_ortvalue_output(node.name, ort.OrtValue.ortvalue_from_numpy(value))
        else:
            # Sequences, maps and strings have no memory of a fixed size: the runtime allocates them at every run.
            binding.bind_output(node.name)
    return lambda: session.run_with_iobinding(binding)


def random_input(node: Any, rng: np.random.Generator) -> np.ndarray:
    """Return standard normal values for one input, random bytes for pixels, or else 0, a valid index everywhere."""
    if node.type not in DTYPES:
        raise ValueError(f"input {node.name!r} is a {node.type}; expected one of {', '.join(DTYPES)}")
    shape, dtype = input_shape(node), DTYPES[node.type]
    if dtype is np.uint8:
        return rng.integers(0, 256, shape, dtype=np.uint8)
    if not issubclass(dtype, np.floating):
        return np.zeros(shape, dtype)
    return rng.standard_normal(shape).astype(dtype)


def input_shape(node: Any) -> list[int]:
    """Return the shape of one input; an open first dimension (a symbol or a negative number) counts as 1."""
    shape = [size if isinstance(size, int) and size >= 0 else None for size in node.shape]
    if shape and shape[0] is None:
        shape[0] = 1
    if None in shape:
        raise ValueError(f"input {node.name!r} has shape {node.shape}: only the batch may be left open")
    if 0 in shape:
        raise ValueError(
            f"input {node.name!r} has shape {node.shape}, which is empty: export it with a batch of 1, or an open one"
        )
    return shape


def batch_size(session: ort.InferenceSession) -> int:
    """Return the inputs of one run: the first dimension of the first input, unless that is a vector."""
    shapes = [input_shape(node) for node in session.get_inputs()[:1]]
    return next((shape[0] for shape in shapes if len(shape) > 1), 1)


def refuse_fallback(model: Any, args: argparse.Namespace) -> None:
    """Refuse a model if the given provider does not run every node.

    The provider of each node is read from the runtime's profile, which every version writes.
    """
    with tempfile.TemporaryDirectory() as folder:
        session = open_session(model, args, profile=os.path.join(folder, "profile"))
        bound_run(session, args.seed)()
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    provider = PROVIDERS[args.provider]
    fallbacks = {}
    for event in events:
        details = event.get("args", {})
        if details.get("provider") not in (None, provider):
            fallbacks[event["name"].replace("_kernel_time", "")] = details["provider"]
    if fallbacks:
        listed = ", ".join(f"{node} ({other})" for node, other in sorted(fallbacks.items())[:10])
        raise ValueError(f"{len(fallbacks)} nodes do not run on {provider}: {listed}")


def load(model: Any, args: argparse.Namespace) -> tuple[Run, int]:
    """Return a function that runs a model once, and the number of inputs of a run.

    Raises:
        ValueError: the runtime lacks the provider, or an input cannot be made.
    """
    if PROVIDERS[args.provider] not in ort.get_available_providers():
        raise ValueError(f"this onnxruntime has no {PROVIDERS[args.provider]}; has {ort.get_available_providers()}")
    if args.provider != "cpu":
        refuse_fallback(model, args)
    session = open_session(model, args)
    return bound_run(session, args.seed), batch_size(session)


# ---------------------------------------------------------------- machine


def recorded_circumstances(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Return the circumstances that a row states: at the start, and temperature and frequency also at the end."""
    at_start = {key: before[key] for key in ("load", "governor", "frequency_hz", "temperature_celsius")}
    at_end = {f"{key}_at_end": after[key] for key in ("frequency_hz", "temperature_celsius", "throttle_events")}
    return {**at_start, **at_end, "foreign_load": foreign_load(before, after)}


def read_text(path: str) -> str | None:
    """Return the first line of a system file; None if it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip().splitlines()[0]
    except (OSError, IndexError):
        return None


def read_lines(path: str) -> list[str]:
    """Return the lines of a system file; none if it cannot be read."""
    with contextlib.suppress(OSError):
        return Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    return []


def cpu_model() -> str:
    """Return the name of the CPU that the system states."""
    device_tree = read_text("/proc/device-tree/model")
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.lower().startswith("model name"):
                return line.partition(":")[2].strip()
    return (device_tree or platform.processor() or platform.machine()).strip("\x00 ")


def circumstances(core: int) -> dict[str, Any]:
    """Return what may change during a measurement: load, frequency, governor, temperature; None if unreadable."""
    folder = f"{CORES}/cpu{core}/cpufreq/"
    frequency = read_text(folder + "scaling_cur_freq")
    zones = [read_text(str(path)) for path in sorted(Path("/sys/class/thermal").glob("thermal_zone*/temp"))]
    degrees = [int(zone) / 1000 for zone in zones if zone and zone.lstrip("-").isdigit()]
    return {
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        **cpu_seconds(),
        "governor": read_text(folder + "scaling_governor"),
        "frequency_hz": int(frequency) * 1000 if frequency and frequency.isdigit() else None,
        "temperature_celsius": max(degrees) if degrees else None,
        "throttle_events": throttle_events(),
    }


def throttle_events() -> int | None:
    """Return how often heat or power lowered the clock since the system started; None if it is not reported.

    Intel's counters, or the bits of a Raspberry Pi's firmware (16 and up: has happened).
    """
    paths = Path(CORES).glob("cpu[0-9]*/thermal_throttle/*_throttle_count")
    counts = [read_text(str(path)) for path in paths]
    board = read_text("/sys/devices/platform/soc/soc:firmware/get_throttled")
    with contextlib.suppress(TypeError, ValueError):
        return bin(int(board, 16) >> 16).count("1")  # type: ignore[arg-type]
    numbers = [int(count) for count in counts if count and count.isdigit()]
    return sum(numbers) if numbers else None


def cpu_flags() -> list[str]:
    """Return the CPU's instruction set extensions that kernels are chosen by."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.split(":")[0].strip() in ("flags", "Features"):
                return [flag for flag in line.partition(":")[2].split() if INFERENCE_FLAGS.match(flag)]
    return []


def memory_bytes() -> int | None:
    """Return the memory of the machine; None if unknown."""
    with contextlib.suppress(AttributeError, OSError, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return None


def system_name() -> str:
    """Return the name of the operating system."""
    with contextlib.suppress(OSError):
        for line in Path("/etc/os-release").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("PRETTY_NAME="):
                return line.partition("=")[2].strip("\"'")
    return f"{platform.system()} {platform.release()}"


def probe() -> dict[str, Any]:
    """Describe this machine; `edgenas devices probe` turns the result into a device file."""
    more = {"system": system_name(), "memory_bytes": memory_bytes(), "providers": ort.get_available_providers()}
    return {"schema_version": SCHEMA_VERSION, **environment(), **more}


def cpu_seconds() -> dict[str, float | None]:
    """Return the clock and the CPU seconds of all programs (with time that a hypervisor stole) and of this one."""
    busy = None
    with contextlib.suppress(AttributeError, OSError, ValueError):
        line = Path("/proc/stat").read_text(encoding="utf-8").splitlines()[0]
        user, nice, system, _, _, irq, softirq, steal = (int(value) for value in line.split()[1:9])
        busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    return {"clock_s": time.monotonic(), "busy_s": busy, "own_s": time.process_time()}


def foreign_load(before: dict[str, Any], after: dict[str, Any]) -> float | None:
    """Return how many cores other programs kept busy between two `circumstances`; None if unknown."""
    if before.get("busy_s") is None or after.get("busy_s") is None:
        return None
    elapsed, busy, own = (float(after[key] - before[key]) for key in ("clock_s", "busy_s", "own_s"))
    return max(0.0, (busy - own) / max(elapsed, 1e-9))


def environment() -> dict[str, Any]:
    """Return what does not change: CPU, cores, system, versions; no host or user names."""
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "cpu_flags": cpu_flags(),
        "os": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "runtime": "onnxruntime",
        "runtime_version": ort.__version__,
        "runtime_build": ort.get_build_info()[:200] if hasattr(ort, "get_build_info") else None,
    }


def reserve_cores(threads: int, root: str = CORES) -> dict[str, Any]:
    """Bind this process to one core per thread, see `pick_cores`, and raise its priority, if allowed."""
    reserved: dict[str, Any] = {"affinity": None, "nice": None}
    with contextlib.suppress(AttributeError, OSError):
        os.sched_setaffinity(0, pick_cores(os.sched_getaffinity(0), threads, root))
        reserved["affinity"] = sorted(os.sched_getaffinity(0))
    with contextlib.suppress(AttributeError, OSError):
        reserved["nice"] = os.nice(-10)
    return reserved


def usable_cores() -> float:
    """Return how many cores this process may use: by its affinity, and by the CPU quotas of its control groups."""
    with contextlib.suppress(AttributeError, OSError):
        return min([float(len(os.sched_getaffinity(0))), *cpu_quotas()])
    return float(os.cpu_count() or 1)


def cpu_quotas(root: str = "/sys/fs/cgroup", own: str = "/proc/self/cgroup") -> list[float]:
    """Return the quotas, in cores, of the control groups that this process is in, of both versions; empty for none."""
    group = next((line[3:] for line in read_lines(own) if line.startswith("0::")), "/")
    parts = [part for part in group.split("/") if part]
    folders = ["/".join([root, *parts[:depth]]) for depth in range(len(parts) + 1)]
    limits = [(read_text(f"{folder}/cpu.max") or "").split() for folder in folders]
    limits.append([read_text(f"{root}/cpu/cpu.cfs_{name}_us") or "" for name in ("quota", "period")])
    return [
        int(limit[0]) / int(limit[1])
        for limit in limits
        if len(limit) == 2 and limit[0].isdigit() and limit[1].isdigit()
    ]


def thread_warnings(threads: int, cores: float) -> list[str]:
    """Return warnings about more threads than cores."""
    if threads <= cores:
        return []
    return [
        f"{threads} threads share the {cores:g} core(s) that this process may use (taskset, a container's limit): take "
        "fewer --threads, or give it more cores"
    ]


def pick_cores(allowed: Iterable[int], threads: int, root: str = CORES) -> list[int]:
    """Return one logical core per thread: one of each physical core, the fastest first.

    Two hyperthreads of one core share its arithmetic units. They are taken only when there are too few physical cores.
    """
    ranked = sorted(allowed, key=lambda core: core_rank(core, root), reverse=True)
    physical: dict[str, int] = {}
    for core in ranked:
        physical.setdefault(siblings(core, root), core)
    first = list(physical.values())
    return (first + [core for core in ranked if core not in first])[:threads]


def siblings(core: int, root: str) -> str:
    """Return the logical cores of this one's physical core, as Linux lists them; the core itself if it does not."""
    return read_text(f"{root}/cpu{core}/topology/thread_siblings_list") or str(core)


def core_rank(core: int, root: str) -> tuple[int, int]:
    """Return the rank of a core: faster ones are higher, then later ones, since the first cores serve interrupts."""
    text = read_text(f"{root}/cpu{core}/cpufreq/cpuinfo_max_freq")
    return (int(text) if text and text.isdigit() else 0, core)


def rss_bytes() -> int | None:
    """Return the resident memory of this process; None if the system does not report it."""
    with contextlib.suppress(AttributeError, OSError, ValueError, IndexError):
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return None


def peak_rss_bytes() -> int | None:
    """Return the peak resident memory of this process; None if the system does not report it."""
    # On Linux, the value of getrusage begins with that of the parent process.
    with contextlib.suppress(OSError, AttributeError):
        match = re.search(r"^VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"), re.MULTILINE)
        return int(match[1]) * 1024 if match else None
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


# ---------------------------------------------------------------- main


class Progress:
    """Printer of lines `progress DONE TOTAL` on standard error, at most five per second."""

    def __init__(self, total: int) -> None:
        self.done, self.total, self.shown = 0, total, 0.0

    def tick(self) -> None:
        """Count one step."""
        self.done += 1
        now = time.monotonic()
        if now - self.shown > 0.2 or self.done == self.total:
            self.shown = now
            print(f"progress {self.done} {self.total}", file=sys.stderr, flush=True)


class Loaded(NamedTuple):
    """Loaded models by their index, as text; errors by the index as a number.

    `repetition_runs` are the runs of a repetition, `rss_growth` the bytes that loading a model added to the resident
    memory, `batches` the inputs of a run.
    """

    runs: dict[str, Run]
    repetition_runs: dict[str, int]
    errors: dict[int, str]
    rss_growth: dict[str, int | None]
    batches: dict[str, int]


def load_all(models: Sequence[Path], args: argparse.Namespace, tick: Callable[[], None]) -> Loaded:
    """Load and warm up every model; of a model that fails, the error is returned."""
    runs: dict[str, Run] = {}
    batches: dict[str, int] = {}
    repetition_runs: dict[str, int] = {}
    errors: dict[int, str] = {}
    rss_growth: dict[str, int | None] = {}
    # First, so that memory which the runtime allocates once is not counted for a model.
    on_cpu = argparse.Namespace(**{**vars(args), "provider": "cpu"})
    references = {"sentinel": bound_run(open_session(SENTINEL_MODEL, on_cpu), args.seed)}
    references["empty"] = bound_run(open_session(EMPTY_MODEL, on_cpu), args.seed)
    warm = {name: warm_up(run, time.perf_counter_ns) for name, run in references.items()}
    for index, model in enumerate(models):
        before = rss_bytes()
        try:
            run, batches[str(index)] = load(model, args)
            repetition_runs[str(index)] = warm_up(run, time.perf_counter_ns)
            runs[str(index)] = run
            after = rss_bytes()
            rss_growth[str(index)] = None if before is None or after is None else max(0, after - before)
        # The runtime's exceptions share no base but Exception; the other models must still be timed.
        except Exception as error:
            errors[index] = failure_message(error)
        tick()
    return Loaded(runs | references, repetition_runs | warm, errors, rss_growth, batches)


def failure_message(error: Exception) -> str:
    """Return why a model is not timed, in one line, without positions in the runtime's source code."""
    kind, message = type(error).__name__, " ".join(str(error).split())
    message = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .*? failed:)?", "", message)
    message = re.sub(r"\S+\.(?:h|cc|cpp):\d+ .*?\) (?=[A-Z])", "", message)
    if kind not in UNSUPPORTED:
        return f"{kind}: {message}"
    return (
        f"onnxruntime {ort.__version__} cannot run it: {message.rstrip('.')}: "
        "install a newer one, or export the model with operators and an opset that this one supports"
    )


def benchmark(models: Sequence[Path], args: argparse.Namespace) -> list[dict[str, Any]]:
    """Time all models and return one row each, in the given order."""
    crowding_warnings = thread_warnings(args.threads, usable_cores())
    reserved = reserve_cores(args.threads)
    core = max(reserved["affinity"] or [0])
    before = circumstances(core)
    progress = Progress(len(models) + args.rounds * (len(models) + 2))
    loaded = load_all(models, args, progress.tick)
    progress.done += len(loaded.errors) * args.rounds
    timed = interleave(loaded.runs, loaded.repetition_runs, args.rounds, args.seed, time.perf_counter_ns, progress.tick)
    after = circumstances(core)
    machine = {**environment(), **reserved, **recorded_circumstances(before, after)}
    warnings = crowding_warnings + machine_warnings(without_jumps(timed["sentinel"])[0], before, after)
    return to_rows(models, args, timed, loaded, peak_rss_bytes(), machine, warnings)


def to_rows(
    models: Sequence[Path],
    args: argparse.Namespace,
    timed: dict[str, Timed],
    loaded: Loaded,
    peak: int | None,
    machine: dict[str, Any],
    warnings: Sequence[str],
) -> list[dict[str, Any]]:
    """Return one row per model, in the given order, from the samples of a session and the state of the machine."""
    sentinel, _ = without_jumps(timed["sentinel"])
    shared = {
        "call_overhead_ms": statistics(timed["empty"])["latency_ms"]["p50"],
        "sentinel_p50_ms": statistics(sentinel)["latency_ms"]["p50"],
        "sentinel_drift": drift(round_medians(sentinel)),
        "environment": machine,
    }
    rows = []
    for index, model in enumerate(models):
        info = benchmark_info(index, model, args, loaded.batches.get(str(index)))
        row = {"schema_version": SCHEMA_VERSION, "benchmark_info": info}
        if index in loaded.errors:
            row["error"] = loaded.errors[index]
        else:
            samples = timed[str(index)]
            memory = {"peak_rss_bytes": peak, "model_rss_bytes": loaded.rss_growth[str(index)]}
            row.update(
                statistics(samples, args.raw_samples),
                **shared,
                memory=memory,
                warnings=[*warnings, *model_warnings(samples)],
            )
        rows.append(row)
    return rows


def benchmark_info(index: int, model: Path, args: argparse.Namespace, batch: int | None) -> dict[str, Any]:
    """Return what was timed and how: `index` is the model's position in the call, `batch` the inputs of a run."""
    return {
        "index": index,
        "model": model.name,
        "batch_size": batch,
        "provider": args.provider,
        "threads": args.threads,
        "optimisation_level": args.optimisation_level,
        "spinning": args.spinning,
        "rounds": args.rounds,
        "seed": args.seed,
        "timestamp": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


# ---------------------------------------------------------------- sessions one after another


class SessionFailed(Exception):
    """A session ended before all its models were timed."""


def digest(value: Any) -> str:
    """Return a short digest of a value, by which the rows of a job are recognised."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]


def file_digest(path: str) -> str:
    """Return the SHA-256 of a file."""
    with open(path, "rb") as stream:
        return hashlib.sha256(stream.read()).hexdigest()


def run_session(models: Sequence[Path], args: argparse.Namespace, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Time the models in a new process, and return their rows.

    If the system kills the process, as it does when memory is full, two processes with half the models each follow.
    This finds the model that does not fit into memory, and the others are timed.

    Raises:
        SessionFailed: the process failed; its last lines are in the message.
    """
    lines: list[str] = []

    def forward(line: str) -> None:
        (say if line.startswith("progress ") else lines.append)(line)

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "rows.jsonl"
        code = follow([*own_command(args), "--sessions", "1", "--out", str(out), *map(str, models)], forward)
        if code in (0, 1) and out.exists():
            return read_rows(out)
    if code != -getattr(signal, "SIGKILL", 9):
        raise SessionFailed(f"a session ended with exit code {code}:\n{''.join(lines[-15:])}")
    if len(models) == 1:
        killed = "the system killed the timer while only this model was loaded: memory is full"
        info = benchmark_info(0, models[0], args, None)
        return [{"schema_version": SCHEMA_VERSION, "benchmark_info": info, "error": killed}]
    half = len(models) // 2
    rows = run_session(models[:half], args, say) + run_session(models[half:], args, say)
    for index, row in enumerate(rows):
        row["benchmark_info"]["index"] = index
    return rows


def own_command(args: argparse.Namespace) -> list[str]:
    """Return the command that runs this script in the same setting."""
    options = ("threads", "provider", "optimisation_level", "rounds", "seed", "raw_samples")
    words = [word for name in options for word in (f"--{name.replace('_', '-')}", str(getattr(args, name)))]
    return [sys.executable, os.path.abspath(__file__), *words, *["--spinning"] * args.spinning]


def follow(command: Sequence[str], say: Callable[[str], None]) -> int:
    """Run a command and pass on each line of its standard error; it is killed if this process is interrupted."""
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace"
    ) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                say(line)
        except BaseException:
            process.kill()
            raise
    return process.returncode


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file; a line that a kill cut short is skipped."""
    rows = []
    with contextlib.suppress(FileNotFoundError):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                rows.append(json.loads(line))
    return [row for row in rows if isinstance(row, dict) and isinstance(row.get("benchmark_info"), dict)]


def time_jobs(jobs: Sequence[dict[str, Any]], folder: Path, args: argparse.Namespace, out: Path) -> None:
    """Run one session per job. Rows already in `out` are kept, and models that failed are not tried again.

    A job has `models` (paths relative to `folder`), `rounds` and `seed`. Its rows name it in `job`.
    """
    total = [len(job["models"]) + job["rounds"] * (len(job["models"]) + 2) for job in jobs]
    names = [job_name(job, args) for job in jobs]
    for number, (name, job) in enumerate(zip(names, jobs)):
        done, failed = set(), set()
        for row in read_rows(out):
            index, row_job = row["benchmark_info"].get("index"), row["benchmark_info"].get("job")
            if row_job == name:
                done.add(index)
            if "error" in row and row_job in names:
                failed.add(jobs[names.index(row_job)]["models"][index])
        todo = [i for i, model in enumerate(job["models"]) if i not in done and model not in failed]
        job_args = argparse.Namespace(**{**vars(args), "rounds": job["rounds"], "seed": job["seed"]})
        say = scaled_progress(sum(total[:number]), sum(total))
        rows = run_session([folder / job["models"][i] for i in todo], job_args, say) if todo else []
        for index, row in zip(todo, rows):
            row["benchmark_info"].update(index=index, job=name)
        write_rows(rows, str(out))
        # Failed and skipped models count as timed.
        say(f"progress {total[number]}")


def job_name(job: dict[str, Any], args: argparse.Namespace) -> str:
    """Return the name of a job in the setting of `args`, which its rows state."""
    return digest([job, {key: getattr(args, key) for key in SETTING}])


def scaled_progress(done: int, total: int) -> Callable[[str], None]:
    """Return a function that prints a job's progress lines as part of all jobs."""

    def say(line: str) -> None:
        print(f"progress {done + int(line.split()[1])} {total}", file=sys.stderr, flush=True)

    return say


def pool_sessions(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return one row per model from those of its sessions: medians over sessions, and their spread."""
    for row in rows:
        if "error" in row:
            return {**row, "benchmark_info": {**row["benchmark_info"], "job": None}}
    sessions = np.array([row["latency_ms"]["p50"] for row in rows])
    latency = {key: float(np.median([row["latency_ms"][key] for row in rows])) for key in rows[0]["latency_ms"]}
    latency["min"] = min(row["latency_ms"]["min"] for row in rows)
    latency["max"] = max(row["latency_ms"]["max"] for row in rows)
    joined = {key: [value for row in rows for value in row[key]] for key in ("raw_samples_ms", "rounds_p50_ms")}
    info = {key: value for key, value in rows[0]["benchmark_info"].items() if key != "job"}
    return {
        **rows[-1],
        "benchmark_info": {**info, "rounds": len(joined["rounds_p50_ms"]), "sessions": len(rows)},
        "latency_ms": latency,
        **joined,
        "ci_p50_ms": [min(row["ci_p50_ms"][0] for row in rows), max(row["ci_p50_ms"][1] for row in rows)],
        "count": sum(row["count"] for row in rows),
        "clock_jumps": sum(row["clock_jumps"] for row in rows),
        "sessions_p50_ms": sessions.tolist(),
        "session_spread": spread(sessions),
        "call_overhead_ms": float(np.median([row["call_overhead_ms"] for row in rows])),
        "sentinel_p50_ms": float(np.median([row["sentinel_p50_ms"] for row in rows])),
        "sentinel_drift": max(row["sentinel_drift"] for row in rows),
        "memory": {key: max_stated([row["memory"][key] for row in rows]) for key in rows[0]["memory"]},
        "warnings": list(dict.fromkeys(warning for row in rows for warning in row["warnings"]))
        + session_warnings(sessions),
    }


def max_stated(values: Sequence[int | None]) -> int | None:
    """Return the largest value that is not None; None if there is none."""
    return max((value for value in values if value is not None), default=None)


def session_warnings(sessions: np.ndarray) -> list[str]:
    """Return warnings about sessions with different medians."""
    relative_spread = spread(sessions)
    if relative_spread <= SPREAD_LIMIT:
        return []
    return [f"sessions differ by {relative_spread:.0%} (limit {SPREAD_LIMIT:.0%}): stop other programs, add --sessions"]


def time_sessions(models: Sequence[Path], args: argparse.Namespace) -> list[dict[str, Any]]:
    """Split the rounds over sessions; rows of finished ones are kept next to --out until all have finished."""
    rounds = -(-args.rounds // args.sessions)
    paths = [os.path.abspath(model) for model in models]
    # By content: without a set clock, two versions of a file may have the same date.
    states = [file_digest(path) for path in paths if os.path.isfile(path)]
    jobs = [
        {"models": paths, "rounds": rounds, "seed": args.seed + number, "of": states} for number in range(args.sessions)
    ]
    names = {job_name(job, args) for job in jobs}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(args.out + ".part") if args.out else Path(folder) / "rows.jsonl"
        time_jobs(jobs, Path(), args, out)
        rows = [row for row in read_rows(out) if row["benchmark_info"].get("job") in names]
        by_model = [[row for row in rows if row["benchmark_info"]["index"] == i] for i in range(len(models))]
        pooled = [pool_sessions(session_rows) for session_rows in by_model]
        write_rows(pooled, args.out)
        out.unlink()
    return pooled


def run_jobs_file(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Time the models of a kit; rows.jsonl and results.zip are written next to the jobs file."""
    path = Path(args.jobs)
    kit = json.loads(path.read_text(encoding="utf-8"))
    job_args = argparse.Namespace(**{**vars(args), **kit["setting"], "raw_samples": 0})
    out = Path(args.out) if args.out else path.parent / "rows.jsonl"
    try:
        time_jobs(kit["jobs"], path.parent, job_args, out)
    finally:
        if out.exists():
            write_results(out, path.parent / "results.zip")
    return read_rows(out)


def write_results(rows: Path, path: Path) -> None:
    """Write the rows and the description of this machine as one zip."""
    fresh = path.with_suffix(".part")
    entries = {"rows.jsonl": rows.read_bytes(), "probe.json": json.dumps(probe(), allow_nan=False).encode()}
    with zipfile.ZipFile(fresh, "w") as archive:
        for name, data in entries.items():
            archive.writestr(zipfile.ZipInfo(name, ZIP_DATE), data, zipfile.ZIP_DEFLATED)
    os.replace(fresh, path)


# ---------------------------------------------------------------- command line


def find_models(paths: Sequence[str]) -> list[Path]:
    """Return the given models, with folders replaced by the *.onnx files in them."""
    models: list[Path] = []
    for text in paths:
        path = Path(text)
        models += sorted(path.glob("*.onnx")) if path.is_dir() else [path]
    return models


def write_rows(rows: Sequence[dict[str, Any]], out: str | None) -> None:
    """Append rows to a file, or print them."""
    text = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
    if out is None:
        sys.stdout.write(text)
        return
    if os.path.isfile(out) and Path(out).read_bytes()[-1:] not in (b"", b"\n"):
        text = "\n" + text  # A kill cut the last line short.
    with open(out, "a", encoding="utf-8") as stream:
        stream.write(text)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    command = argparse.ArgumentParser(description="Time ONNX models on this machine, one JSON line each.")
    command.add_argument("models", nargs="*", metavar="MODEL_OR_FOLDER", help=".onnx files, or folders of them")
    command.add_argument("--threads", type=positive, default=1, help="threads of an operator (default 1)")
    command.add_argument(
        "--provider", choices=sorted(PROVIDERS), default="cpu", help="execution provider (default cpu)"
    )
    command.add_argument("--optimisation-level", choices=list(LEVELS), default="all", help="graph optimisations")
    command.add_argument("--spinning", action="store_true", help="idle threads spin instead of sleeping")
    command.add_argument(
        "--rounds", type=positive, default=20, help="timed repetitions of every model, in total (default 20)"
    )
    sessions = f"processes that the rounds are split over (default {SESSIONS}, at most the rounds)"
    command.add_argument("--sessions", type=positive, help=sessions)
    command.add_argument("--seed", type=int, default=0, help="seed of inputs and of the order of models")
    command.add_argument("--out", help="file to append the rows to (default: standard output)")
    command.add_argument(
        "--raw-samples", type=int, default=MAX_RAW_SAMPLES, help="samples of a session to keep in its row"
    )
    command.add_argument(
        "--jobs", metavar="JOBS.JSON", help="time the models of a kit (default: jobs.json next to this file)"
    )
    command.add_argument("--probe", action="store_true", help="only describe this machine")
    return command


def positive(text: str) -> int:
    """Parse a positive integer."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1, got {text}")
    return value


def stop(number: int, frame: Any) -> None:
    """Handle SIGTERM like Ctrl-C."""
    raise KeyboardInterrupt


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0: every model was timed, 1: one was not, 2: there was none."""
    args = parser().parse_args(argv)
    if args.probe:
        print(json.dumps(probe(), allow_nan=False))
        return 0
    default_jobs = Path(__file__).resolve().parent / "jobs.json"
    if not args.models and not args.jobs and default_jobs.exists():
        args.jobs = str(default_jobs)
    models = find_models(args.models)
    if not models and not args.jobs:
        print(f"bench: no .onnx file in {', '.join(args.models) or 'the arguments'}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, stop)
    try:
        rows = measure(models, args)
    except KeyboardInterrupt:
        print("bench: stopped; the same command resumes after the last finished session", file=sys.stderr)
        return 130
    except SessionFailed as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"bench: the rows cannot be written to {args.out or 'standard output'}: {error}", file=sys.stderr)
        return 1
    return report_failures(rows)


def measure(models: Sequence[Path], args: argparse.Namespace) -> list[dict[str, Any]]:
    """Time everything that the arguments ask for, write the rows and return them."""
    check_writable(args.out or (args.jobs and str(Path(args.jobs).parent / "rows.jsonl")))
    if args.jobs:
        return run_jobs_file(args)
    args.sessions = min(args.sessions or SESSIONS, args.rounds)
    if args.sessions > 1:
        return time_sessions(models, args)
    rows = benchmark(models, args)
    write_rows(rows, args.out)
    return rows


def check_writable(out: str | None) -> None:
    """Check before timing that rows can be appended to a file, without leaving a new one behind.

    Raises:
        OSError: the file is not writable.
    """
    if out:
        fresh = not os.path.exists(out)
        with open(out, "ab"):
            pass
        if fresh:
            os.remove(out)


def report_failures(rows: Sequence[dict[str, Any]]) -> int:
    """Print the errors of failed models and all warnings, and return the exit code."""
    failed = [row for row in rows if "error" in row]
    for row in failed:
        print(f"bench: {row['benchmark_info']['model']}: {row['error']}", file=sys.stderr)
    for row in rows:
        info = row["benchmark_info"]
        if (info.get("batch_size") or 1) > 1:
            note = f"a run takes a batch of {info['batch_size']} inputs, and the times are those of the whole batch"
            print(f"bench: {info['model']}: {note}", file=sys.stderr)
    for warning in sorted({warning for row in rows for warning in row.get("warnings", [])}):
        print(f"bench: warning: {warning}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
