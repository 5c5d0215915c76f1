"""ONNX Runtime sessions set as models are timed: on the CPU, nodes one after the other, idle threads asleep."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from edgenas.errors import UserError, one_of
from edgenas.first_bytes import stand_in_cause

OPTIMISED = "optimised.onnx"
"""The graph that is executed, in the folder of a session's traces."""
EXACT_INT8 = "session.x64quantprecision"
"""Option of a session: on x86 CPUs whose uint8 by int8 kernels saturate, use the slower uint8 by uint8 kernels."""
ERROR_CODE = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .*? failed:)?")
SOURCE_PLACE = re.compile(r"\S+\.(?:h|cc|cpp):\d+ .*?\) (?=[A-Z])")
"""A line of the runtime's source and the function there, which has no capital after a closing bracket."""
LONGEST_SAID = 500
EXPORT_BATCH = "export it with a batch of 1, or an open one"


def provider_of(name: str) -> str:
    """The runtime's name of an execution provider: `cpu` is CPUExecutionProvider.

    Raises:
        UserError: this runtime has no such provider; those it has are listed.
    """
    available: dict[str, str] = {
        full.removesuffix("ExecutionProvider").lower(): full for full in onnxruntime.get_available_providers()
    }
    if name not in available:
        raise UserError(
            f"ONNX Runtime {onnxruntime.__version__} has no execution provider {name!r} here; {one_of(name, available)}"
        )
    return available[name]


def open_session(
    model: bytes | Path,
    name: str,
    threads: int = 1,
    *,
    traces: Path | None = None,
    provider: str = "cpu",
    exact_int8: bool = False,
) -> onnxruntime.InferenceSession:
    """A session.

    Args:
        model: a file, or what stands in one.
        name: of the model, for messages.
        threads: of an operator.
        traces: a folder to leave the optimised graph in, and the profile once it is ended.
        provider: who is asked to run the nodes; those it cannot run fall back to the CPU.
        exact_int8: see `create_session`.

    Raises:
        UserError: this runtime cannot run the model, say because it lacks an operator, or has no such provider.
    """
    full = provider_of(provider)
    try:
        return create_session(model, threads, traces=traces, provider=full, exact_int8=exact_int8)
    # The runtime's own exceptions share no base but Exception.
    except Exception as error:
        cause = stand_in_cause(model) if isinstance(model, Path) else None
        raise UserError(f"{name}: {cause or _refusal(error)}") from None


def create_session(
    model: bytes | Path,
    threads: int = 1,
    *,
    optimised: bool = True,
    traces: Path | None = None,
    provider: str = "CPUExecutionProvider",
    exact_int8: bool = False,
) -> onnxruntime.InferenceSession:
    """Return a session; errors of the runtime come as they are.

    Args:
        model: a file, or its bytes.
        threads: number of threads of an operator.
        optimised: with all of the runtime's graph optimisations, or with none.
        traces: as in `open_session`.
        provider: the runtime's name of an execution provider.
        exact_int8: whether int8 sums are exact on every CPU. On x86 without VNNI the fast kernels saturate, which a
            session for scoring must not: its file is deployed on a device that does not, or has 7-bit weights. Slower
            there, and no difference elsewhere, so sessions that are timed leave it off.
    """
    levels = onnxruntime.GraphOptimizationLevel
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimised else levels.ORT_DISABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry(EXACT_INT8, str(int(exact_int8)))
    # It warns that an optimised graph fits this machine alone.
    options.log_severity_level = 4
    if traces is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(traces / "profile")
        options.optimized_model_filepath = str(traces / OPTIMISED)
    source = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(source, options, providers=[provider])


def bound_run(session: onnxruntime.InferenceSession, name: str) -> Callable[[], None]:
    """A call that runs the session on seeded random inputs, all memory allocated once; it was run one time.

    Raises:
        UserError: there are no random values for an input, or the model fails on them.
    """
    rng = np.random.default_rng(0)
    feeds = {port.name: _random_input(port, name, rng) for port in session.get_inputs()}
    try:
        results = session.run(None, feeds)
    except Exception as error:
        raise UserError(f"{name}: {_refusal(error)} (on random inputs)") from None
    binding = session.io_binding()
    for port, value in feeds.items():
        binding.bind_ortvalue_input(port, onnxruntime.OrtValue.ortvalue_from_numpy(value))
    for port, value in zip(session.get_outputs(), results, strict=True):
        if isinstance(value, np.ndarray) and value.dtype != object:
            binding.bind_ortvalue_output(port.name, onnxruntime.OrtValue.ortvalue_from_numpy(value))
        else:
            # Sequences, maps and strings have no memory of a fixed size: the runtime allocates them at every run.
            binding.bind_output(port.name)
    return lambda: session.run_with_iobinding(binding)


def _refusal(error: Exception) -> str:
    return (
        f"ONNX Runtime {onnxruntime.__version__} cannot run it: {runtime_message(error)}; "
        "a newer runtime may, or export it with operators and an opset that this one has"
    )


def runtime_message(error: Exception) -> str:
    """What an error of the runtime says, without where in its source it says so."""
    said = SOURCE_PLACE.sub("", ERROR_CODE.sub("", " ".join(str(error).split()))) or type(error).__name__
    return textwrap.shorten(said, LONGEST_SAID, placeholder=" …").rstrip(".")


def _random_input(port: Any, name: str, rng: np.random.Generator) -> npt.NDArray[Any]:
    """An open batch counts as 1. Whole numbers are pixels where they are bytes, else 0, which any index may be."""
    shape = [size if isinstance(size, int) or place else 1 for place, size in enumerate(port.shape)]
    if not all(isinstance(size, int) for size in shape):
        raise UserError(f"{name}: input {port.name!r} has shape {port.shape}: only the batch may be open")
    if 0 in shape:
        raise UserError(f"{name}: input {port.name!r} has shape {port.shape}, which holds nothing: {EXPORT_BATCH}")
    floats = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
    if port.type in floats:
        return rng.standard_normal(shape).astype(floats[port.type])
    if port.type in ("tensor(uint8)", "tensor(int8)"):
        return rng.integers(0, 128, shape).astype(np.dtype(port.type[7:-1]))
    if port.type in ("tensor(int32)", "tensor(int64)", "tensor(bool)"):
        return np.zeros(shape, np.dtype(port.type[7:-1]))
    raise UserError(f"{name}: input {port.name!r} is a {port.type}: wanted numbers")
