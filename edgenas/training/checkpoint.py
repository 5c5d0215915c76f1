"""Checkpoints: safetensors files whose header describes the training and its progress as JSON.

Nothing in a safetensors file is executed when it is read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import safetensors.torch
import torch
from pydantic import Field, TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from edgenas.errors import RunFolderError, explained
from edgenas.files import SCHEMA_VERSION, file_digest, write_bytes
from edgenas.first_bytes import stand_in_cause
from edgenas.supernet.pixels import Pixels

FILE_NAME = "checkpoint.safetensors"
BEST_NAME = "best.safetensors"
"""Weights of the best validation so far, where training may stop early."""
DELETE = "delete it to train from scratch"
PICKLES = (b"PK\x03\x04", b"\x80")
"""First bytes of pickles, which `torch.save` writes in a zip archive or bare."""


@dataclass(frozen=True)
class Header:
    """The header of a checkpoint: what was trained, and how far.

    Attributes:
        step: optimiser steps done.
        seconds: seconds spent in them.
        space: structure_id of the supernet's space; empty for a standalone network.
        dataset: name of the training set; empty for a standalone network.
        classes: classes of that set; empty for a standalone network.
        pixels: normalisation and crop of the training images.
        scores: validation top-1 so far of a standalone network that may stop early.
    """

    step: Annotated[int, Field(ge=0)]
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    space: str = ""
    dataset: str = ""
    classes: tuple[str, ...] = ()
    pixels: Pixels = Pixels()
    scores: tuple[float, ...] = ()

    def dump(self) -> str:
        """Return the header as JSON text."""
        return json.dumps({"schema_version": SCHEMA_VERSION, **asdict(self), "num_classes": len(self.classes)})


def save(
    folder: Path,
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    header: Header,
    average: Mapping[str, Tensor] | None = None,
) -> None:
    """Write the weights, the optimiser's state and the average of the weights, if there is one, atomically."""
    tensors = {f"net.{name}": tensor for name, tensor in net.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in state.items()}
    tensors |= {f"average.{name}": tensor for name, tensor in (average or {}).items()}
    write_bytes(folder / FILE_NAME, safetensors.torch.save(plain(tensors), {"edgenas": header.dump()}))


def plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors that can be written to a file: detached, on the CPU, contiguous."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def save_best(folder: Path, net: nn.Module) -> None:
    """Write the weights of the best validation so far, atomically."""
    write_bytes(folder / BEST_NAME, safetensors.torch.save(plain({f"net.{k}": v for k, v in net.state_dict().items()})))


def load_best(folder: Path, net: nn.Module) -> None:
    """Load the weights that `save_best` wrote.

    Raises:
        RunFolderError: the file is missing, broken or of another network.
    """
    path = folder / BEST_NAME
    try:
        tensors = safetensors.torch.load_file(path)
    except (OSError, SafetensorError) as error:
        raise RunFolderError(f"{path} is missing or broken ({error}): delete {folder} to train from scratch") from None
    load_weights(path, net, tensors)


def resume(
    folder: Path, net: nn.Module, optimizer: torch.optim.Optimizer, average: dict[str, Tensor] | None = None
) -> Header | None:
    """Load the checkpoint of `folder` into the network, optimiser and average; return its header, None without a file.

    Raises:
        RunFolderError: the file is broken or of another network.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return None
    tensors, header = read(path, DELETE)
    load_weights(path, net, tensors)
    try:
        optimizer.load_state_dict(_optimizer_state(tensors, optimizer))
    except (IndexError, KeyError, ValueError) as error:
        raise RunFolderError(f"{path} holds another optimiser's state ({error}): {DELETE}") from None
    for name in average or {}:
        # A finished training has none: its weights are the average.
        if average is not None and f"average.{name}" in tensors:
            average[name] = tensors[f"average.{name}"].to(average[name].device)
    return header


def _optimizer_state(tensors: dict[str, Tensor], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".")
            if tensor.ndim and tensor.shape != parameters[int(index)].shape:
                raise ValueError(f"{name} has shape {tuple(tensor.shape)}")
            state.setdefault(int(index), {})[key] = tensor
    return {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}


def load(folder: Path, net: nn.Module) -> None:
    """Load the weights of the checkpoint in `folder`.

    Raises:
        RunFolderError: the checkpoint is missing, broken or of another network.
    """
    path = folder / FILE_NAME
    if not path.exists():
        raise RunFolderError(f"{path} does not exist: run `edgenas train` on this run folder first")
    load_weights(path, net, read(path, DELETE, "net.")[0])


def digest(folder: Path) -> str:
    """Return the SHA-256 of the checkpoint file in `folder`."""
    return file_digest(folder / FILE_NAME)


def load_weights(path: Path, net: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Load the `net.` tensors of a checkpoint into `net`.

    Raises:
        RunFolderError: names or shapes differ.
    """
    weights = {name.removeprefix("net."): tensor for name, tensor in tensors.items() if name.startswith("net.")}
    try:
        net.load_state_dict(weights)
    except RuntimeError as error:
        raise RunFolderError(f"{path} holds another network: {error}") from None


def read(path: Path, advice: str, prefix: str = "") -> tuple[dict[str, Tensor], Header]:
    """Return the tensors whose names begin with `prefix`, and the header.

    Raises:
        RunFolderError: the file is no checkpoint of edgenas; the message ends with `advice`.
    """
    with open_checkpoint(path, advice) as (file, header):
        names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118
        return {name: file.get_tensor(name) for name in names}, header


@contextmanager
def open_checkpoint(path: Path, advice: str) -> Iterator[tuple[Any, Header]]:
    """Open a checkpoint without reading a tensor; yield the file and its header.

    Raises:
        RunFolderError: the file is no checkpoint of edgenas; the message ends with `advice`.
    """
    try:
        with safe_open(path, framework="pt") as file:
            yield file, _header(path, (file.metadata() or {})["edgenas"])
    except RunFolderError:
        raise
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise RunFolderError(f"{path} is no checkpoint of edgenas ({_reason(path, error)}): {advice}") from None


def _header(path: Path, text: str) -> Header:
    value = json.loads(text)
    if value["schema_version"] > SCHEMA_VERSION:
        raise RunFolderError(f"{path} was written by a newer edgenas (schema {value['schema_version']}): upgrade")
    return TypeAdapter(Header).validate_python(value)


def _reason(path: Path, error: Exception) -> str:
    if isinstance(error, ValidationError):
        return explained(error.errors())
    with suppress(OSError), open(path, "rb") as stream:
        if stream.read(4).startswith(PICKLES):
            return "it looks like a pickle, as torch.save writes: reading one may run code, so edgenas does not"
    return stand_in_cause(path) or str(error)
