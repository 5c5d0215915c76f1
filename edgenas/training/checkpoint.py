"""Checkpoints: safetensors, with what they are of and how far training went as JSON in the file's own header.

Nothing in a safetensors file is executed when it is read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import safetensors.torch
import torch
from pydantic import Field, TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from edgenas.errors import RunFolderError, UserError, explained
from edgenas.files import SCHEMA_VERSION, user_path, write_bytes
from edgenas.space.load import load_space
from edgenas.space.space import SearchSpace
from edgenas.supernet.supernet import SuperNet

FILE_NAME = "checkpoint.safetensors"
CLASSIFIER = "blocks.head.classifier."
"""Names of the supernet's tensors that belong to a set's classes."""
ANEW = "delete it to train anew"
INIT_ADVICE = f"wanted a run folder, or its supernet/{FILE_NAME}"
PICKLES = (b"PK\x03\x04", b"\x80")
"""First bytes of what `torch.save` writes, now and formerly."""


@dataclass(frozen=True)
class Header:
    """What a checkpoint is of, and how far training went.

    Attributes:
        step: optimiser steps done.
        seconds: time spent in them.
        space: structure_id of the supernet's space; empty in files that are older than this field.
        dataset: name of the set it was taught.
        classes: of that set.
    """

    step: Annotated[int, Field(ge=0)]
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    space: str = ""
    dataset: str = ""
    classes: tuple[str, ...] = ()

    def dump(self) -> str:
        """As it stands in a file's header."""
        return json.dumps({"schema_version": SCHEMA_VERSION, **asdict(self), "num_classes": len(self.classes)})


def save(folder: Path, net: nn.Module, optimizer: torch.optim.Optimizer, header: Header) -> None:
    """Write weights and optimiser state atomically."""
    tensors = {f"net.{name}": tensor for name, tensor in net.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in state.items()}
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(folder / FILE_NAME, safetensors.torch.save(plain, {"edgenas": header.dump()}))


def resume(folder: Path, net: nn.Module, optimizer: torch.optim.Optimizer) -> Header | None:
    """Load the checkpoint of `folder` into both; None if there is none.

    Raises:
        RunFolderError: the file is broken or of another network.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return None
    tensors, header = _read(path, ANEW)
    load_weights(path, net, tensors)
    try:
        optimizer.load_state_dict(_optimizer_state(tensors, optimizer))
    except (IndexError, KeyError, ValueError) as error:
        raise RunFolderError(f"{path} holds another optimiser's state ({error}): {ANEW}") from None
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
    """Load the weights of `folder`'s checkpoint.

    Raises:
        RunFolderError: there is none, or it is broken or of another network.
    """
    path = folder / FILE_NAME
    if not path.exists():
        raise RunFolderError(f"{path} does not exist: run `edgenas train` on this run folder first")
    load_weights(path, net, _read(path, ANEW, "net.")[0])


def digest(folder: Path) -> str:
    """SHA-256 of `folder`'s checkpoint file."""
    return file_digest(folder / FILE_NAME)


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


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


def init_file(source: Path) -> Path:
    """The checkpoint that `train.init` names: a run folder's, or the file itself.

    Raises:
        RunFolderError: there is none.
    """
    path = user_path(source)
    path = path / "supernet" / FILE_NAME if path.is_dir() else path
    if not path.is_file():
        raise RunFolderError(
            f"train.init: {path} does not exist: wanted a run folder whose supernet is trained, or its "
            f"supernet/{FILE_NAME}"
        )
    return path


def check_init(source: Path, space: SearchSpace) -> None:
    """Refuse a `train.init` that a supernet of `space` cannot be started from; only the file's header is read.

    Raises:
        RunFolderError: no checkpoint of ours, or one of another space (both are named).
    """
    path = init_file(source)
    with _opened(path, INIT_ADVICE) as (file, header):
        _check_space(path, header, space)
        found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    with torch.device("meta"):
        wanted = SuperNet(space, num_classes=2).state_dict()
    for name, tensor in wanted.items():
        shape = found.get(f"net.{name}")
        if not name.startswith(CLASSIFIER) and shape != tuple(tensor.shape):
            raise RunFolderError(
                f"train.init: {path} is of {space.structure_id} too, but narrowed otherwise: its {name} has shape "
                f"{shape}, this run's has {tuple(tensor.shape)}; give both runs the same `space`"
            )


def load_init(source: Path, net: SuperNet, dataset: str, classes: tuple[str, ...]) -> None:
    """Start `net` from another supernet of the same space: all of its weights and statistics, not its optimiser.

    Its classifier is taken over only if it was taught classes of the same names from a set of the same name.

    Raises:
        RunFolderError: no checkpoint of ours, or one of another space (both are named).
    """
    check_init(source, net.space)
    path = init_file(source)
    tensors, header = _read(path, INIT_ADVICE, "net.")
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        raise RunFolderError(f"train.init: {path} holds weights that are no finite numbers: {INIT_ADVICE}")
    if (header.dataset, header.classes) != (dataset, classes):
        own = {f"net.{name}": tensor for name, tensor in net.state_dict().items() if name.startswith(CLASSIFIER)}
        tensors |= own
    load_weights(path, net, tensors)


def load_whole(source: Path, net: SuperNet, classes: tuple[str, ...]) -> Header:
    """Make `net` another supernet of the same space, classifier and all; returns what that one is of.

    Raises:
        RunFolderError: no checkpoint of ours, one of another space, or one that was taught other classes.
    """
    check_init(source, net.space)
    path = init_file(source)
    tensors, header = _read(path, INIT_ADVICE, "net.")
    if header.classes != classes:
        raise RunFolderError(
            f"train.init: {path} was taught {len(header.classes)} classes ({_few(header.classes)}), data has "
            f"{len(classes)} ({_few(classes)}): wanted pictures of the same classes, by the same names"
        )
    load_weights(path, net, tensors)
    return header


def _few(classes: tuple[str, ...]) -> str:
    return ", ".join(classes[:3]) + (", …" if len(classes) > 3 else "")


def _check_space(path: Path, header: Header, space: SearchSpace) -> None:
    came = header.space or _space_beside(path)
    if came != space.structure_id:
        raise RunFolderError(
            f"train.init: {path} is of space {came or 'unknown'}, this run's is {space.structure_id}: "
            "wanted a supernet of the same space"
        )


def _space_beside(path: Path) -> str:
    """The space of a checkpoint that does not name it, from the run folder it lies in."""
    try:
        return load_space(path.parent.parent / "space.yaml").structure_id
    except UserError:
        return ""


def _read(path: Path, advice: str, prefix: str = "") -> tuple[dict[str, Tensor], Header]:
    with _opened(path, advice) as (file, header):
        names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118
        return {name: file.get_tensor(name) for name in names}, header


@contextmanager
def _opened(path: Path, advice: str) -> Iterator[tuple[Any, Header]]:
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
    return str(error)
