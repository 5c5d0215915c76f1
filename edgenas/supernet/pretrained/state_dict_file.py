"""Read the tensors of a weights file without running code in it, and load them into a network."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

import safetensors.torch
import torch
from torch import Tensor, nn

from edgenas.errors import WeightsError, first_line, shortened
from edgenas.files import file_digest
from edgenas.first_bytes import stand_in_cause

SAFETENSORS = ".safetensors"
CODE = "(?i)unsupported global|unrecognized function|can only (create|build)|TorchScript"
"""Messages of torch for a pickle that calls functions or makes objects, and for a program."""
COUNT = ".num_batches_tracked"


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits.

    Raises:
        WeightsError: the file cannot be read.
    """
    try:
        return file_digest(path)
    except OSError as error:
        raise WeightsError(
            f"weights: {path} cannot be read ({error.strerror}): expected a state dict (.pth or .safetensors)"
        ) from None


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by name, on the CPU.

    A `.safetensors` file holds nothing but tensors. Any other file is read as torch's pickle by
    `torch.load(weights_only=True)`, which refuses every callable, so that no code of the file runs. The tensors may be
    in a dict under `state_dict`.

    Raises:
        WeightsError: the file is missing, damaged, holds anything but tensors, or has code in it.
    """
    state = _read_safetensors(path) if path.suffix == SAFETENSORS else _read_pickle(path)
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not _is_state_dict(state):
        raise WeightsError(f"weights: {path} holds {_kind(state)}: expected a dict of tensors by name (a state dict)")
    return state


def _is_state_dict(state: Any) -> TypeGuard[dict[str, Tensor]]:
    if not isinstance(state, dict) or not state:
        return False
    return all(isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items())


def _read_safetensors(path: Path) -> Any:
    try:
        return safetensors.torch.load_file(path)
    except Exception as error:
        raise _unreadable(path, "safetensors", error) from None


def _read_pickle(path: Path) -> Any:
    try:
        return torch.load(path, weights_only=True, map_location="cpu")
    # A damaged pickle may raise any exception: struct.error, IndexError, AssertionError and others.
    except Exception as error:
        if stand_in_cause(path) or not re.search(CODE, str(error)):
            raise _unreadable(path, "a PyTorch state dict", error) from None
        raise WeightsError(
            f"weights: {path} holds Python objects or a program, not only tensors; edgenas does not load it, since it "
            "could run code: save net.state_dict() of a trusted copy, as .safetensors or by torch.save"
        ) from None


def _unreadable(path: Path, kind: str, error: Exception) -> WeightsError:
    if not path.is_file():
        return WeightsError(
            f"weights: {path} does not exist, or is not a file: expected a state dict (.pth or .safetensors)"
        )
    cause = stand_in_cause(path) or f"{first_line(error)}; is it truncated? get it again"
    return WeightsError(f"weights: {path} cannot be read as {kind} ({cause})")


def _kind(state: object) -> str:
    if isinstance(state, dict):
        return "a dict of other values" if state else "no tensors"
    return f"a {type(state).__name__}"


def load_tensors(module: nn.Module, tensors: Mapping[str, Tensor], origin: str) -> nn.Module:
    """Load tensors into a network and return it in eval mode, as float32 on the CPU.

    Args:
        module: the network, on any device; one on the device meta becomes real.
        tensors: all its tensors by name.
        origin: the file or name, for messages.

    Raises:
        WeightsError: tensors are missing, superfluous, of another shape, or not finite.
    """
    expected = module.state_dict()
    # Checkpoints of 2017 lack the number of batches, which nothing here uses.
    counts = {name: torch.zeros_like(count, device="cpu") for name, count in expected.items() if name.endswith(COUNT)}
    tensors = counts | dict(tensors)
    _check_names(expected, tensors, origin)
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise WeightsError(
                f"weights: {origin}: {name} has shape {tuple(tensor.shape)}, expected {tuple(expected[name].shape)}"
            )
        if _is_unusual(tensor) or not tensor.isfinite().all():
            raise WeightsError(f"weights: {origin}: {name} has values that are not finite real numbers")
        # Half precision becomes float32.
        expected[name] = tensor.to("cpu", expected[name].dtype, copy=True).contiguous()
    module.load_state_dict(expected, assign=True)
    return module.eval()


def _is_unusual(tensor: Tensor) -> bool:
    return tensor.layout is not torch.strided or tensor.is_meta or tensor.is_quantized or tensor.is_complex()


def _check_names(expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor], origin: str) -> None:
    missing, extra = sorted(set(expected) - set(tensors)), sorted(set(tensors) - set(expected))
    problems = [f"{verb} {shortened(names)}" for verb, names in (("lack", missing), ("also have", extra)) if names]
    if problems:
        raise WeightsError(f"weights: the tensors of {origin} do not fit the network: they {' and '.join(problems)}")
