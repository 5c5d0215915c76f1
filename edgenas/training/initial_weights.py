"""Weights to start from (`train.init`): another supernet's, or a public once-for-all checkpoint's."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from edgenas.errors import RunFolderError, UserError, shortened
from edgenas.files import user_path
from edgenas.space.loading import load_space
from edgenas.space.space import SearchSpace
from edgenas.supernet.ofa import has_ofa_checkpoints, import_ofa_checkpoint
from edgenas.supernet.pixels import Pixels
from edgenas.supernet.supernet import SuperNet
from edgenas.training.checkpoint import FILE_NAME, PICKLES, Header, load_weights, opened, read

CLASSIFIER = "blocks.head.classifier."
"""Names of the supernet's tensors that belong to a set's classes."""
TRANSFORMS = "transforms"
"""What the names of kernel transforms have in them."""
INIT_ADVICE = f"wanted a run folder, or its supernet/{FILE_NAME}"


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


def check_init(source: Path, space: SearchSpace, *, kernel_transforms: bool = False) -> None:
    """Refuse a `train.init` that a supernet of `space` cannot be started from; only the file's header is read.

    Raises:
        RunFolderError: no checkpoint of ours, or one of another space (both are named).
    """
    path = init_file(source)
    if _is_ofa(path, space):
        if not kernel_transforms:
            raise RunFolderError(f"train.init: {path} is once-for-all's: set train.kernel_transforms to true")
        import_ofa_checkpoint(path, space)
        return
    with opened(path, INIT_ADVICE) as (file, header):
        _check_space(path, header, space)
        found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    if kernel_transforms != any(f".{TRANSFORMS}." in name for name in found):
        raise RunFolderError(
            f"train.init: {path} is {'of a supernet without' if kernel_transforms else 'of one with'} kernel "
            f"transforms: set train.kernel_transforms to {str(not kernel_transforms).lower()}"
        )
    with torch.device("meta"):
        wanted = SuperNet(space, num_classes=2, kernel_transforms=kernel_transforms).state_dict()
    for name, tensor in wanted.items():
        shape = found.get(f"net.{name}")
        if not name.startswith(CLASSIFIER) and shape != tuple(tensor.shape):
            raise RunFolderError(
                f"train.init: {path} is of {space.structure_id} too, but narrowed otherwise: its {name} has shape "
                f"{shape}, this run's has {tuple(tensor.shape)}; give both runs the same `space`"
            )


def load_init(source: Path, net: SuperNet, dataset: str, classes: tuple[str, ...]) -> None:
    """Start `net` from another supernet of the same space: all of its weights and statistics, not its optimiser.

    Its classifier is taken over only if it was trained classes of the same names from a set of the same name; or, where
    the file is once-for-all's, which names none, as many classes.

    Raises:
        RunFolderError: no checkpoint of ours, or one of another space (both are named).
        DataError: a checkpoint of once-for-all that is broken or does not fit the space.
    """
    check_init(source, net.space, kernel_transforms=net.kernel_transforms)
    path = init_file(source)
    if _is_ofa(path, net.space):
        theirs = import_ofa_checkpoint(path, net.space)
        own = {} if theirs.num_classes == net.num_classes else _classifier(net)
        net.load_state_dict(theirs.state_dict() | own)
        return
    tensors, header = _finite(path)
    if (header.dataset, header.classes) != (dataset, classes):
        tensors |= {f"net.{name}": tensor for name, tensor in _classifier(net).items()}
    load_weights(path, net, tensors)


def load_whole(source: Path, net: SuperNet, classes: tuple[str, ...]) -> Header:
    """Make `net` another supernet of the same space, classifier and all; returns what that one is of.

    Raises:
        RunFolderError: no checkpoint of ours, one of another space, or one that was trained on other classes or other
            values of pixels.
        DataError: a checkpoint of once-for-all that is broken, or of another space or number of classes.
    """
    check_init(source, net.space, kernel_transforms=net.kernel_transforms)
    path = init_file(source)
    if _is_ofa(path, net.space):
        theirs = import_ofa_checkpoint(path, net.space, num_classes=net.num_classes)
        _check_pixels(path, theirs.pixels, net.pixels)
        net.load_state_dict(theirs.state_dict())
        return Header(0, 0.0, net.space.structure_id, classes=classes, pixels=theirs.pixels)
    tensors, header = _finite(path)
    if header.classes != classes:
        raise RunFolderError(
            f"train.init: {path} was trained {len(header.classes)} classes ({shortened(header.classes, 3)}), data has "
            f"{len(classes)} ({shortened(classes, 3)}): wanted images of the same classes, by the same names"
        )
    _check_pixels(path, header.pixels, net.pixels)
    load_weights(path, net, tensors)
    return header


def _finite(path: Path) -> tuple[dict[str, Tensor], Header]:
    tensors, header = read(path, INIT_ADVICE, "net.")
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        raise RunFolderError(f"train.init: {path} holds weights that are no finite numbers: {INIT_ADVICE}")
    return tensors, header


def _check_pixels(path: Path, trained: Pixels | None, given: Pixels) -> None:
    """Refuse to show a network other values than it was trained; files that do not say are believed."""
    if trained not in (None, given):
        raise RunFolderError(
            f"train.init: {path} was trained {_told(trained)}, this run has {_told(given)}: weights that are taken as "
            "they are want the same of data.mean, data.std and data.crop"
        )


def _told(pixels: Pixels | None) -> str:
    return ", ".join(f"{name} {value}" for name, value in asdict(pixels).items()) if pixels else ""


def _classifier(net: SuperNet) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in net.state_dict().items() if name.startswith(CLASSIFIER)}


def _is_ofa(path: Path, space: SearchSpace) -> bool:
    """Whether a file is to be read as a public checkpoint of once-for-all."""
    with suppress(OSError), open(path, "rb") as stream:
        return has_ofa_checkpoints(space) and stream.read(4).startswith(PICKLES)
    return False


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
