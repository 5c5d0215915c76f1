"""Checkpoints: safetensors, with the step and the seconds spent as JSON in the file's own header."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from edgenas.errors import RunFolderError
from edgenas.files import SCHEMA_VERSION, write_bytes

FILE_NAME = "checkpoint.safetensors"


def save(folder: Path, net: nn.Module, optimizer: torch.optim.Optimizer, step: int, seconds: float) -> None:
    """Write weights and optimiser state atomically."""
    tensors = {f"net.{name}": tensor for name, tensor in net.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in state.items()}
    header = {"schema_version": SCHEMA_VERSION, "step": step, "seconds": seconds}
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(folder / FILE_NAME, safetensors.torch.save(plain, {"edgenas": json.dumps(header)}))


def resume(folder: Path, net: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[int, float]:
    """Load the checkpoint of `folder` into both; returns steps done and seconds spent (0, 0.0 if there is none).

    Raises:
        RunFolderError: the file is broken or of another network.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return 0, 0.0
    tensors, header = _read(path)
    load_weights(path, net, tensors)
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".")
            state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return int(header["step"]), float(header["seconds"])


def load(folder: Path, net: nn.Module) -> None:
    """Load the weights of `folder`'s checkpoint.

    Raises:
        RunFolderError: there is none, or it is broken or of another network.
    """
    path = folder / FILE_NAME
    if not path.exists():
        raise RunFolderError(f"{path} does not exist: run `edgenas train` on this run folder first")
    load_weights(path, net, _read(path)[0])


def digest(folder: Path) -> str:
    """SHA-256 of `folder`'s checkpoint file."""
    return hashlib.sha256((folder / FILE_NAME).read_bytes()).hexdigest()


def load_weights(path: Path, net: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Put the `net.` tensors of a checkpoint into `net`.

    Raises:
        RunFolderError: names or shapes differ.
    """
    weights = {name.removeprefix("net."): tensor for name, tensor in tensors.items() if name.startswith("net.")}
    try:
        net.load_state_dict(weights)
    except RuntimeError as error:
        raise RunFolderError(f"{path} holds another network: {error}") from None


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, float]]:
    try:
        with safe_open(path, framework="pt") as file:
            stored = json.loads((file.metadata() or {})["edgenas"])
            header = {key: float(stored[key]) for key in ("schema_version", "step", "seconds")}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise RunFolderError(f"{path} is no checkpoint of edgenas ({error}): delete it to train anew") from None
    if header["schema_version"] > SCHEMA_VERSION:
        raise RunFolderError(f"{path} was written by a newer edgenas (schema {header['schema_version']}): upgrade")
    return tensors, header
