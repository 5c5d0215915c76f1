#!/usr/bin/env python3
"""Time ONNX models on this machine: one file, Python 3.9 or newer, NumPy and ONNX Runtime.

    python bench.py MODEL_OR_FOLDER... [--threads 1] [--rounds 20] [--out rows.jsonl]

Protocol. All models are loaded and warmed up until their times settle. Then come rounds: each visits every
model once, in random order, with a sentinel (always the same matrix product) and an empty model among them. A
visit is a few untimed runs, then short timed ones, with the garbage collector off. Interleaving spreads a
burst of foreign load over all models instead of spoiling one; the sentinel shows whether the machine itself
became slower; the empty model shows what a call costs before any work is done (`call_overhead_ms`).

Runs go through an IOBinding with inputs and outputs allocated once: `session.run` allocates its outputs anew
at every call, so a block with a big output would pay page faults that it does not pay inside a network, whose
arena is reused. The overhead is also smaller (2 µs against 4) and steadier.

Output: one JSON object a model and line, to --out (appended) or standard output. Times are milliseconds.
A model that cannot be loaded or run becomes a line with `error`; the others go on, and the exit code is 1.
Standard error carries lines `progress DONE TOTAL`.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import datetime
import gc
import json
import os
import platform
import random
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Callable

import numpy as np
import onnxruntime as ort

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

LACKING = ("Fail", "InvalidGraph", "NotImplemented")
"""Errors of a runtime that lacks an operator or an opset of a model."""
UNTIMED_RUNS = 2
MIN_RUNS, MAX_RUNS = 5, 200
VISIT_NS = 4_000_000
LONGEST_VISIT_NS = 500_000_000
WARM_UP_BATCHES = 15
WARM_UP_TOLERANCE = 0.03
MAX_RAW_SAMPLES = 200
BOOTSTRAPS = 1000
DRIFT_LIMIT = 0.05
SPREAD_LIMIT = 0.10
LOAD_LIMIT = 0.3
TEMPERATURE_LIMIT = 80.0

Clock = Callable[[], int]
Run = Callable[[], Any]
Timed = list[list[int]]
"""What one model gave: for each round, its samples in nanoseconds."""


# ---------------------------------------------------------------- timing


def visit(run: Run, runs: int, clock: Clock) -> list[int]:
    """Time `runs` runs one by one, in nanoseconds, after a few untimed ones that warm the caches."""
    for _ in range(UNTIMED_RUNS):
        run()
    samples = [0] * runs
    for index in range(runs):
        start = clock()
        run()
        samples[index] = clock() - start
    return samples


def runs_per_visit(typical_ns: float) -> int:
    """At least five runs, as many as fill about 4 ms, fewer where five would take over half a second."""
    typical_ns = max(typical_ns, 1.0)
    wanted = min(max(int(VISIT_NS / typical_ns), MIN_RUNS), MAX_RUNS)
    return max(1, min(wanted, int(LONGEST_VISIT_NS / typical_ns)))


def warm_up(run: Run, clock: Clock) -> int:
    """Run until two batches agree within 3 %; returns how many runs a visit shall have."""
    before, runs = float(np.median(visit(run, 1, clock))), 1
    for _ in range(WARM_UP_BATCHES):
        runs = runs_per_visit(before)
        now = float(np.median(visit(run, runs, clock)))
        if abs(now - before) <= WARM_UP_TOLERANCE * before:
            return runs_per_visit(now)
        before = now
    return runs


def interleave(
    runs: dict[str, Run],
    visits: dict[str, int],
    rounds: int,
    seed: int,
    clock: Clock,
    tick: Callable[[], None],
) -> dict[str, Timed]:
    """Rounds over all models, each in a random order of its own."""
    order = random.Random(seed)
    timed: dict[str, Timed] = {name: [] for name in runs}
    for _ in range(rounds):
        names = list(runs)
        order.shuffle(names)
        with collector_off():
            for name in names:
                timed[name].append(visit(runs[name], visits[name], clock))
                tick()
    return timed


@contextlib.contextmanager
def collector_off() -> Iterator[None]:
    """Collect now, then not again until the end."""
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


# ---------------------------------------------------------------- statistics


def round_medians(timed: Timed) -> np.ndarray:
    """Median of every round in milliseconds, shape (rounds,)."""
    return np.array([np.median(samples) for samples in timed]) / 1e6


def confidence_interval(medians: np.ndarray, level: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """Percentile bootstrap of the median over rounds (Efron 1979).

    Rounds are drawn, not samples: those of one visit share its circumstances and are no independent evidence.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(medians), (BOOTSTRAPS, len(medians)))
    tails = [50 * (1 - level), 50 * (1 + level)]
    low, high = np.percentile(np.median(medians[drawn], axis=1), tails)
    return float(low), float(high)


def spread(medians: np.ndarray) -> float:
    """Robust relative standard deviation between rounds: 1.4826 × median absolute deviation / median."""
    middle = float(np.median(medians))
    return float(1.4826 * np.median(np.abs(medians - middle)) / middle) if middle else 0.0


def drift(medians: np.ndarray) -> float:
    """Relative range of the medians of four consecutive parts of the rounds."""
    parts = [float(np.median(part)) for part in np.array_split(medians, min(4, len(medians)))]
    return (max(parts) - min(parts)) / min(parts) if min(parts) > 0 else 0.0


def statistics(timed: Timed) -> dict[str, Any]:
    """The measured part of a row, milliseconds."""
    pooled = np.concatenate([np.asarray(samples, dtype=np.float64) for samples in timed]) / 1e6
    medians = round_medians(timed)
    quantiles = {f"p{percent}": float(np.percentile(pooled, percent)) for percent in (10, 50, 90, 95, 99)}
    low, high = confidence_interval(medians)
    kept = np.linspace(0, len(pooled) - 1, min(len(pooled), MAX_RAW_SAMPLES)).astype(int)
    return {
        "latency_ms": {
            "mean": float(pooled.mean()),
            "min": float(pooled.min()),
            "max": float(pooled.max()),
            **quantiles,
            "std": float(pooled.std()),
        },
        "raw_samples_ms": pooled[kept].tolist(),
        "rounds_p50_ms": medians.tolist(),
        # The p50 of all samples may lie just beside the medians of rounds when visits differ in length.
        "ci_p50_ms": [min(low, quantiles["p50"]), max(high, quantiles["p50"])],
        "count": len(pooled),
        "round_spread": spread(medians),
    }


def model_doubts(timed: Timed) -> list[str]:
    """Doubts about one model's numbers."""
    between = spread(round_medians(timed))
    if between <= SPREAD_LIMIT:
        return []
    return [f"rounds differ by {between:.0%} (limit {SPREAD_LIMIT:.0%}): stop other programs, add --rounds"]


def machine_doubts(sentinel: Timed, before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Doubts about the machine while it measured, each with what to do."""
    doubts = []
    moved = drift(round_medians(sentinel))
    if moved > DRIFT_LIMIT:
        doubts.append(
            f"the sentinel drifted by {moved:.0%} (limit {DRIFT_LIMIT:.0%}): let the machine cool, fix its "
            "clock, stop other programs, and measure again"
        )
    load = foreign_load(before, after)
    if load is not None and load > LOAD_LIMIT:
        doubts.append(f"other programs kept {load:.1f} cores busy: stop them and measure again")
    governor = before.get("governor")
    if governor is not None and governor != "performance":
        doubts.append(f"the frequency governor is {governor!r}: set it to performance, or as in use")
    heat = after.get("temperature_celsius")
    if heat is not None and heat >= TEMPERATURE_LIMIT:
        doubts.append(f"{heat:.0f} °C at the end (limit {TEMPERATURE_LIMIT:.0f}): the clock may be throttled")
    return doubts


# ---------------------------------------------------------------- sessions


def open_session(model: Any, args: argparse.Namespace, profile: str = "") -> ort.InferenceSession:
    """A session in the asked setting; `model` is a path or serialised bytes."""
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
    """A call without arguments that runs the session on seeded random inputs, all memory allocated once."""
    rng = np.random.default_rng(seed)
    feeds = {node.name: random_input(node, rng) for node in session.get_inputs()}
    results = session.run(None, feeds)
    binding = session.io_binding()
    for name, value in feeds.items():
        binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(value))
    for node, value in zip(session.get_outputs(), results):
        binding.bind_ortvalue_output(node.name, ort.OrtValue.ortvalue_from_numpy(value))
    return lambda: session.run_with_iobinding(binding)


def random_input(node: Any, rng: np.random.Generator) -> np.ndarray:
    """Standard normal values for one input, random bytes for pixels; a symbolic first dimension counts as 1."""
    if node.type not in DTYPES:
        raise ValueError(f"input {node.name!r} is a {node.type}; wanted one of {', '.join(DTYPES)}")
    shape = list(node.shape)
    if shape and not isinstance(shape[0], int):
        shape[0] = 1
    if not all(isinstance(size, int) for size in shape):
        raise ValueError(f"input {node.name!r} has shape {node.shape}: only the batch may be left open")
    if DTYPES[node.type] is np.uint8:
        return rng.integers(0, 256, shape, dtype=np.uint8)
    return rng.standard_normal(shape).astype(DTYPES[node.type])


def refuse_fallback(model: Any, args: argparse.Namespace) -> None:
    """Refuse a model of which the asked provider does not run every node.

    Where nodes ran is read from the runtime's own profile, which every version writes.
    """
    with tempfile.TemporaryDirectory() as folder:
        session = open_session(model, args, profile=os.path.join(folder, "profile"))
        bound_run(session, args.seed)()
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    wanted = PROVIDERS[args.provider]
    fallen = {}
    for event in events:
        details = event.get("args", {})
        if details.get("provider") not in (None, wanted):
            fallen[event["name"].replace("_kernel_time", "")] = details["provider"]
    if fallen:
        named = ", ".join(f"{node} ({provider})" for node, provider in sorted(fallen.items())[:10])
        raise ValueError(f"{len(fallen)} nodes do not run on {wanted}: {named}")


def load(model: Any, args: argparse.Namespace) -> Run:
    """A runnable model, or an exception that says why not."""
    if PROVIDERS[args.provider] not in ort.get_available_providers():
        raise ValueError(f"this onnxruntime has no {PROVIDERS[args.provider]}; has {ort.get_available_providers()}")
    if args.provider != "cpu":
        refuse_fallback(model, args)
    return bound_run(open_session(model, args), args.seed)


# ---------------------------------------------------------------- machine


def described(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Circumstances as rows keep them: at the start, temperature and frequency also at the end."""
    kept = {key: before[key] for key in ("load", "governor", "frequency_hz", "temperature_celsius")}
    at_end = {f"{key}_at_end": after[key] for key in ("frequency_hz", "temperature_celsius")}
    return {**kept, **at_end, "foreign_load": foreign_load(before, after)}


def read_text(path: str) -> str | None:
    """First line of a system file; None where it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip().splitlines()[0]
    except (OSError, IndexError):
        return None


def cpu_model() -> str:
    """Name of the CPU as the system gives it."""
    device_tree = read_text("/proc/device-tree/model")
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.lower().startswith("model name"):
                return line.partition(":")[2].strip()
    return (device_tree or platform.processor() or platform.machine()).strip("\x00 ")


def circumstances(core: int) -> dict[str, Any]:
    """What may change during a measurement: load, frequency, governor, temperature; None where unreadable."""
    folder = f"/sys/devices/system/cpu/cpu{core}/cpufreq/"
    frequency = read_text(folder + "scaling_cur_freq")
    zones = [read_text(str(path)) for path in sorted(Path("/sys/class/thermal").glob("thermal_zone*/temp"))]
    degrees = [int(zone) / 1000 for zone in zones if zone and zone.lstrip("-").isdigit()]
    return {
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        **cpu_seconds(),
        "governor": read_text(folder + "scaling_governor"),
        "frequency_hz": int(frequency) * 1000 if frequency and frequency.isdigit() else None,
        "temperature_celsius": max(degrees) if degrees else None,
    }


def cpu_seconds() -> dict[str, float | None]:
    """Clock, CPU seconds of all programs (with what a hypervisor stole), and of this one."""
    busy = None
    with contextlib.suppress(AttributeError, OSError, ValueError):
        line = Path("/proc/stat").read_text(encoding="utf-8").splitlines()[0]
        user, nice, system, _, _, irq, softirq, steal = (int(value) for value in line.split()[1:9])
        busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    return {"clock_s": time.monotonic(), "busy_s": busy, "own_s": time.process_time()}


def foreign_load(before: dict[str, Any], after: dict[str, Any]) -> float | None:
    """How many cores other programs kept busy between two `circumstances`; None where unknown."""
    if before.get("busy_s") is None or after.get("busy_s") is None:
        return None
    elapsed, busy, own = (float(after[key] - before[key]) for key in ("clock_s", "busy_s", "own_s"))
    return max(0.0, (busy - own) / max(elapsed, 1e-9))


def environment() -> dict[str, Any]:
    """What stays as it is: CPU, cores, system, versions. No host or user names."""
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "os": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "runtime": "onnxruntime",
        "runtime_version": ort.__version__,
    }


def settle(threads: int) -> dict[str, Any]:
    """Keep this process to `threads` cores, the fastest ones, and raise its priority, where allowed."""
    done: dict[str, Any] = {"affinity": None, "nice": None}
    with contextlib.suppress(AttributeError, OSError):
        allowed = sorted(os.sched_getaffinity(0), key=core_rank, reverse=True)
        os.sched_setaffinity(0, allowed[:threads])
        done["affinity"] = sorted(os.sched_getaffinity(0))
    with contextlib.suppress(AttributeError, OSError):
        done["nice"] = os.nice(-10)
    return done


def core_rank(core: int) -> tuple[int, int]:
    """Faster cores rank higher; among equals the last, since systems serve interrupts on the first."""
    text = read_text(f"/sys/devices/system/cpu/cpu{core}/cpufreq/cpuinfo_max_freq")
    return (int(text) if text and text.isdigit() else 0, core)


def peak_rss_bytes() -> int | None:
    """Peak resident memory of this process with all its models; None where the system does not tell."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


# ---------------------------------------------------------------- main


class Progress:
    """Lines `progress DONE TOTAL` on standard error, five a second at most."""

    def __init__(self, total: int) -> None:
        self.done, self.total, self.shown = 0, total, 0.0

    def tick(self) -> None:
        """Count one step."""
        self.done += 1
        now = time.monotonic()
        if now - self.shown > 0.2 or self.done == self.total:
            self.shown = now
            print(f"progress {self.done} {self.total}", file=sys.stderr, flush=True)


def load_all(
    models: Sequence[Path], args: argparse.Namespace, tick: Callable[[], None]
) -> tuple[dict[str, Run], dict[str, int], dict[int, str]]:
    """Load and warm up every model; a failing one is left out and its error kept."""
    runs: dict[str, Run] = {}
    visits: dict[str, int] = {}
    errors: dict[int, str] = {}
    for index, model in enumerate(models):
        try:
            run = load(model, args)
            visits[str(index)] = warm_up(run, time.perf_counter_ns)
            runs[str(index)] = run
        # The runtime raises classes of its own that share no base but Exception; the others must go on.
        except Exception as error:
            errors[index] = refusal(error)
        tick()
    on_cpu = argparse.Namespace(**{**vars(args), "provider": "cpu"})
    for name, own in (("sentinel", SENTINEL_MODEL), ("empty", EMPTY_MODEL)):
        runs[name] = bound_run(open_session(own, on_cpu), args.seed)
        visits[name] = warm_up(runs[name], time.perf_counter_ns)
    return runs, visits, errors


def refusal(error: Exception) -> str:
    """Why a model is not timed, in one line; the runtime begins with places in its own source."""
    kind, said = type(error).__name__, " ".join(str(error).split())
    said = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .*? failed:)?", "", said)
    said = re.sub(r"\S+\.(?:h|cc|cpp):\d+ .*?\) (?=[A-Z])", "", said)
    if kind not in LACKING:
        return f"{kind}: {said}"
    return (
        f"onnxruntime {ort.__version__} cannot run it: {said.rstrip('.')}: "
        "install a newer one, or export the model with operators and an opset that this one has"
    )


def benchmark(models: Sequence[Path], args: argparse.Namespace) -> list[dict[str, Any]]:
    """Time all models; one row each, in the order given."""
    core = max(settle(args.threads)["affinity"] or [0])
    before = circumstances(core)
    progress = Progress(len(models) + args.rounds * (len(models) + 2))
    runs, visits, errors = load_all(models, args, progress.tick)
    progress.done += len(errors) * args.rounds
    timed = interleave(runs, visits, args.rounds, args.seed, time.perf_counter_ns, progress.tick)
    after = circumstances(core)
    shared = {
        "call_overhead_ms": statistics(timed["empty"])["latency_ms"]["p50"],
        "sentinel_p50_ms": statistics(timed["sentinel"])["latency_ms"]["p50"],
        "sentinel_drift": drift(round_medians(timed["sentinel"])),
        "memory": {"peak_rss_bytes": peak_rss_bytes()},
        "environment": {**environment(), **described(before, after)},
    }
    doubts = machine_doubts(timed["sentinel"], before, after)
    rows = []
    for index, model in enumerate(models):
        row = {"schema_version": SCHEMA_VERSION, "benchmark_info": benchmark_info(index, model, args)}
        if index in errors:
            row["error"] = errors[index]
        else:
            one = timed[str(index)]
            row.update(statistics(one), **shared, doubts=doubts + model_doubts(one))
        rows.append(row)
    return rows


def benchmark_info(index: int, model: Path, args: argparse.Namespace) -> dict[str, Any]:
    """What was timed and how; `index` is the model's place among those given."""
    return {
        "index": index,
        "model": model.name,
        "batch_size": 1,
        "provider": args.provider,
        "threads": args.threads,
        "optimisation_level": args.optimisation_level,
        "spinning": args.spinning,
        "rounds": args.rounds,
        "seed": args.seed,
        "timestamp": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def find_models(paths: Sequence[str]) -> list[Path]:
    """The models given, folders replaced by the *.onnx in them."""
    found: list[Path] = []
    for text in paths:
        path = Path(text)
        found += sorted(path.glob("*.onnx")) if path.is_dir() else [path]
    return found


def write_rows(rows: Sequence[dict[str, Any]], out: str | None) -> None:
    """Append rows to a file, or print them."""
    text = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
    if out is None:
        sys.stdout.write(text)
        return
    with open(out, "a", encoding="utf-8") as stream:
        stream.write(text)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = argparse.ArgumentParser(description="Time ONNX models on this machine, one JSON line each.")
    command.add_argument("models", nargs="+", metavar="MODEL_OR_FOLDER", help=".onnx files, or folders of them")
    command.add_argument("--threads", type=positive, default=1, help="threads of an operator (default 1)")
    command.add_argument("--provider", choices=sorted(PROVIDERS), default="cpu", help="who runs the nodes")
    command.add_argument("--optimisation-level", choices=list(LEVELS), default="all", help="of the graph")
    command.add_argument("--spinning", action="store_true", help="idle threads spin instead of sleeping")
    command.add_argument("--rounds", type=positive, default=20, help="visits to every model (default 20)")
    command.add_argument("--seed", type=int, default=0, help="of inputs and of the order of visits")
    command.add_argument("--out", help="file to append the rows to (default: standard output)")
    return command


def positive(text: str) -> int:
    """A whole number from 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"wanted a number from 1, got {text}")
    return value


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0 when every model was timed, 1 when one was not, 2 when there was none."""
    args = parser().parse_args(argv)
    models = find_models(args.models)
    if not models:
        print(f"bench: no .onnx file in {', '.join(args.models)}", file=sys.stderr)
        return 2
    rows = benchmark(models, args)
    try:
        write_rows(rows, args.out)
    except OSError as error:
        print(f"bench: the rows cannot be written to {args.out or 'standard output'}: {error}", file=sys.stderr)
        return 1
    failed = [row for row in rows if "error" in row]
    for row in failed:
        print(f"bench: {row['benchmark_info']['model']}: {row['error']}", file=sys.stderr)
    for doubt in sorted({doubt for row in rows for doubt in row.get("doubts", [])}):
        print(f"bench: doubt: {doubt}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
