"""ONNX Runtime sessions in the setting of measurements: sequential execution, idle threads do not spin."""

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
"""File name of the optimised graph in the folder of a session's traces."""
EXACT_INT8 = "session.x64quantprecision"
"""Session option: on x86 CPUs whose uint8 by int8 kernels saturate, use the slower uint8 by uint8 kernels."""
ERROR_CODE = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .*? failed:)?")
SOURCE_POSITION = re.compile(r"\S+\.(?:h|cc|cpp):\d+ .*?\) (?=[A-Z])")
"""A position in the runtime's source code: file, line and function."""
MAX_MESSAGE_CHARACTERS = 500
EXPORT_BATCH = "export it with a batch of 1, or an open one"


def provider_of(name: str) -> str:
    """Return the runtime's name of an execution provider: `cpu` is CPUExecutionProvider.

    Raises:
        UserError: this runtime lacks the provider; the message lists the available ones.
    """
    available: dict[str, str] = {
        full.removesuffix("ExecutionProvider").lower(): full for full in onnxruntime.get_available_providers()
    }
    if name not in available:
        raise UserError(
            f"ONNX Runtime {onnxruntime.__version__} has no execution provider {name!r}; {one_of(name, available)}"
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
    """Return a session.

    Args:
        model: a file, or its bytes.
        name: name of the model, for messages.
        threads: number of threads of an operator.
        traces: folder for the optimised graph and the profile.
        provider: execution provider; nodes that it cannot run fall back to the CPU.
        exact_int8: see `create_session`.

    Raises:
        UserError: this runtime cannot run the model or lacks the provider.
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
    """Return a session; errors of the runtime are passed on.

    Args:
        model: a file, or its bytes.
        threads: number of threads of an operator.
        optimised: whether the runtime's graph optimisations are on.
        traces: as in `open_session`.
        provider: the runtime's name of an execution provider.
        exact_int8: whether int8 sums are exact on every CPU. On x86 without VNNI the fast kernels saturate. Accuracy is
            computed with exact sums, since the deployment device does not saturate, or the file has 7-bit weights.
            Exact sums are slower on those CPUs, so sessions for timing leave it off.
    """
    levels = onnxruntime.GraphOptimizationLevel
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimised else levels.ORT_DISABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry(EXACT_INT8, str(int(exact_int8)))
    # Silences the warning that an optimised graph is specific to this machine.
    options.log_severity_level = 4
    if traces is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(traces / "profile")
        options.optimized_model_filepath = str(traces / OPTIMISED)
    source = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(source, options, providers=[provider])


def bound_run(session: onnxruntime.InferenceSession, name: str) -> Callable[[], None]:
    """Return a function that runs the session on seeded random inputs, with memory allocated once; it ran once.

    Raises:
        UserError: an input has an unsupported type or shape, or the model fails on random inputs.
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
        "a newer runtime may, or export it with operators and an opset that this one supports"
    )


def runtime_message(error: Exception) -> str:
    """Return the message of a runtime's error, without positions in its source code."""
    message = SOURCE_POSITION.sub("", ERROR_CODE.sub("", " ".join(str(error).split()))) or type(error).__name__
    return textwrap.shorten(message, MAX_MESSAGE_CHARACTERS, placeholder=" …").rstrip(".")


def _random_input(port: Any, name: str, rng: np.random.Generator) -> npt.NDArray[Any]:
    """Return normal floats, random bytes, or 0 for other integers, a valid index; an open batch counts as 1."""
    shape = [size if isinstance(size, int) or index else 1 for index, size in enumerate(port.shape)]
    if not all(isinstance(size, int) for size in shape):
        raise UserError(f"{name}: input {port.name!r} has shape {port.shape}: only the batch may be open")
    if 0 in shape:
        raise UserError(f"{name}: input {port.name!r} has shape {port.shape}, which is empty: {EXPORT_BATCH}")
    floats = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
    if port.type in floats:
        return rng.standard_normal(shape).astype(floats[port.type])
    if port.type in ("tensor(uint8)", "tensor(int8)"):
        return rng.integers(0, 128, shape).astype(np.dtype(port.type[7:-1]))
    if port.type in ("tensor(int32)", "tensor(int64)", "tensor(bool)"):
        return np.zeros(shape, np.dtype(port.type[7:-1]))
    raise UserError(f"{name}: input {port.name!r} is a {port.type}: expected numbers")
