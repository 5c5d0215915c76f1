"""Initial weights (`train.init`): from another supernet, a public once-for-all checkpoint or a pretrained network."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from edgenas.config.train_config import INIT_FORMS
from edgenas.errors import RunFolderError, one_of, shortened
from edgenas.files import user_path
from edgenas.space.space import SearchSpace
from edgenas.supernet.ofa import has_ofa_checkpoints, import_ofa_checkpoint
from edgenas.supernet.pixels import IMAGENET, Pixels
from edgenas.supernet.sorting import sort_middle_channels
from edgenas.supernet.supernet import SuperNet
from edgenas.training.checkpoint import FILE_NAME, PICKLES, Header, load_weights, open_checkpoint, read

IMAGENET_CLASS = re.compile(r"n\d{8}")
"""Names of ImageNet's class folders: offsets in WordNet."""
CLASSIFIER = "blocks.head.classifier."
"""Beginning of the names of tensors that depend on the classes."""
TRANSFORMS = "transforms"
"""Part of the names of kernel transforms."""
INIT_ADVICE = f"expected a run folder, or its supernet/{FILE_NAME}"


def init_file(source: Path) -> Path:
    """Return the checkpoint that `train.init` names: the one in a run folder, or the file itself.

    Raises:
        RunFolderError: the file does not exist.
    """
    path = user_path(source)
    path = path / "supernet" / FILE_NAME if path.is_dir() else path
    if not path.is_file():
        raise RunFolderError(
            f"train.init: {path} does not exist: expected a run folder whose supernet is trained, its "
            f"supernet/{FILE_NAME}, or a pretrained network: {one_of(str(source), INIT_FORMS)}"
        )
    return path


def check_init(source: Path, space: SearchSpace, *, kernel_transforms: bool = False) -> None:
    """Refuse a `train.init` that does not fit a supernet of `space`; only the header of the file is read.

    Raises:
        RunFolderError: the file is no checkpoint of edgenas, or one of another space (the message names both).
    """
    path = init_file(source)
    if _is_ofa(path, space):
        if not kernel_transforms:
            raise RunFolderError(
                f"train.init: {path} is a once-for-all checkpoint: set train.kernel_transforms to true"
            )
        import_ofa_checkpoint(path, space)
        return
    with open_checkpoint(path, INIT_ADVICE) as (file, header):
        _check_space(path, header, space)
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    if kernel_transforms != any(f".{TRANSFORMS}." in name for name in shapes):
        raise RunFolderError(
            f"train.init: {path} {'lacks' if kernel_transforms else 'has'} kernel transforms: "
            f"set train.kernel_transforms to {str(not kernel_transforms).lower()}"
        )
    with torch.device("meta"):
        expected = SuperNet(space.with_classes(2), kernel_transforms=kernel_transforms).state_dict()
    for name, tensor in expected.items():
        shape = shapes.get(f"net.{name}")
        if not name.startswith(CLASSIFIER) and shape != tuple(tensor.shape):
            raise RunFolderError(
                f"train.init: {path} has space {space.structure_id} too, but narrowed differently: expected {name} of "
                f"shape {tuple(tensor.shape)}, got {shape}; give both runs the same `space`"
            )


def normalisation_note(source: Path, space: SearchSpace, given: Pixels) -> str | None:
    """Return a note where weights of `train.init` were trained with another normalisation; None where it is the same.

    Args:
        source: value of `train.init`, checked by `check_init`.
        space: the space.
        given: normalisation of this run.
    """
    path, trained = init_file(source), IMAGENET
    if not _is_ofa(path, space):
        with open_checkpoint(path, INIT_ADVICE) as (_, header):
            trained = header.pixels
    if (trained.mean, trained.std) == (given.mean, given.std):
        return None
    return (
        f"train.init: {path} was trained with data.mean {list(trained.mean)} and data.std {list(trained.std)}, but "
        f"this run has {list(given.mean)} and {list(given.std)}: its weights are worth most with their own"
    )


def load_init(source: Path, net: SuperNet, dataset: str, classes: tuple[str, ...]) -> None:
    """Load all weights and statistics of another supernet of the same space, but not the state of its optimiser.

    The classifier is loaded only if it was trained on a set of the same name with classes of the same names. A
    once-for-all checkpoint names no classes; its classifier is loaded if the number of classes is the same.

    Raises:
        RunFolderError: the file is no checkpoint of edgenas, or one of another space (the message names both).
        WeightsError: a once-for-all checkpoint is broken or does not fit the space.
    """
    space = net.space.without_classes()
    check_init(source, space, kernel_transforms=net.kernel_transforms)
    path = init_file(source)
    if _is_ofa(path, space):
        source_net = import_ofa_checkpoint(path, space)
        classifier = {} if source_net.space.num_classes == net.space.num_classes else _classifier(net)
        net.load_state_dict(source_net.state_dict() | classifier)
        return
    tensors, header = _read_finite(path)
    if (header.dataset, header.classes) != (dataset, classes):
        tensors |= {f"net.{name}": tensor for name, tensor in _classifier(net).items()}
    load_weights(path, net, tensors)


def load_network(module: nn.Module, net: SuperNet, classes: tuple[str, ...], images: Tensor) -> None:
    """Load the weights of a pretrained network into a supernet whose largest architecture it is.

    Expanded channels are sorted by importance for the images, so that narrower subnets keep the best ones; a trained
    supernet has its own order. The classifier stays as it is, unless both are of ImageNet's class folders, whose
    sorted names are the order of its published networks.

    Args:
        module: the network, with its weights.
        net: supernet with fresh weights, of which the classifier is kept.
        classes: names of the classes of `net`.
        images: some training images, preprocessed for the largest architecture.

    Raises:
        SpaceError: the network is another than the largest architecture of the space.
    """
    space = net.space.without_classes()
    source = SuperNet.from_network(space, module, kernel_transforms=net.kernel_transforms)
    if not isinstance(module, SuperNet):
        sort_middle_channels(source, images=images)
    same_classes = source.space.num_classes == len(classes) and all(map(IMAGENET_CLASS.fullmatch, classes))
    net.load_state_dict(source.state_dict() | ({} if same_classes else _classifier(net)))


def load_whole(source: Path, net: SuperNet, classes: tuple[str, ...]) -> Header:
    """Load another supernet of the same space with its classifier, and return the header of its checkpoint.

    Raises:
        RunFolderError: the file is no checkpoint of edgenas, or one of another space, other classes or another
            normalisation of images.
        WeightsError: a once-for-all checkpoint is broken, or has another space or number of classes.
    """
    check_init(source, net.space, kernel_transforms=net.kernel_transforms)
    path = init_file(source)
    if _is_ofa(path, net.space):
        source_net = import_ofa_checkpoint(path, net.space)
        _check_pixels(path, source_net.pixels, net.pixels)
        net.load_state_dict(source_net.state_dict())
        return Header(0, 0.0, net.space.structure_id, classes=classes, pixels=source_net.pixels)
    tensors, header = _read_finite(path)
    if header.classes != classes:
        raise RunFolderError(
            f"train.init: {path} was trained on {len(header.classes)} classes ({shortened(header.classes, 3)}), but "
            f"data has {len(classes)} ({shortened(classes, 3)}): expected images of classes of the same names"
        )
    _check_pixels(path, header.pixels, net.pixels)
    load_weights(path, net, tensors)
    return header


def _read_finite(path: Path) -> tuple[dict[str, Tensor], Header]:
    tensors, header = read(path, INIT_ADVICE, "net.")
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        raise RunFolderError(f"train.init: {path} has weights that are not finite: {INIT_ADVICE}")
    return tensors, header


def _check_pixels(path: Path, trained: Pixels, given: Pixels) -> None:
    if trained != given:
        raise RunFolderError(
            f"train.init: {path} was trained with {_settings_text(trained)}, but this run has {_settings_text(given)}: "
            "weights that are not trained further need the same data.mean, data.std and data.crop"
        )


def _settings_text(pixels: Pixels) -> str:
    return ", ".join(f"{name} {value}" for name, value in asdict(pixels).items())


def _classifier(net: SuperNet) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in net.state_dict().items() if name.startswith(CLASSIFIER)}


def _is_ofa(path: Path, space: SearchSpace) -> bool:
    """Return whether a file is to be read as a public once-for-all checkpoint."""
    with suppress(OSError), open(path, "rb") as stream:
        return has_ofa_checkpoints(space) and stream.read(4).startswith(PICKLES)
    return False


def _check_space(path: Path, header: Header, space: SearchSpace) -> None:
    if header.space != space.structure_id:
        raise RunFolderError(
            f"train.init: expected a supernet of space {space.structure_id}, got {header.space or 'no supernet'} in "
            f"{path}: choose a run of the same space"
        )
