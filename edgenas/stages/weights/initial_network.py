"""The pretrained network that a run starts from, and the space around it: chosen once, when the run begins."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from edgenas.config.run_config import RunConfig
from edgenas.config.sections import DataConfig
from edgenas.config.train_config import AUTO
from edgenas.errors import ConfigError, SpaceError
from edgenas.progress import Progress
from edgenas.records.init import InitRecord
from edgenas.space.loading import load_space
from edgenas.space.recommendation import recommend_preset
from edgenas.space.space import SearchSpace
from edgenas.supernet.pixels import Pixels
from edgenas.supernet.pretrained.named_sources import network_name
from edgenas.supernet.pretrained.networks import space_from
from edgenas.supernet.pretrained.package_weights import INSTALL_PRETRAINED
from edgenas.supernet.pretrained.sources import PretrainedNetwork, installed_networks, load_pretrained
from edgenas.supernet.pretrained.weights import check_fits
from edgenas.supernet.supernet import SuperNet
from edgenas.training.data.dataset import set_size, source_side, stated_pixels

FINE_STEP, COARSE_STEP = 16, 32
"""Pixels between the resolutions of `space: auto`, up to `FINE_UNTIL` and beyond: blocks of each one are timed."""
LEAST_RESOLUTION, FINE_UNTIL, GREATEST_RESOLUTION = 48, 160, 224
"""Pixels. Networks of smaller inputs see too little, and those of greater ones are too slow for most edge devices."""
SMALL_IMAGES = 64
"""Pixels. Images up to this side leave no choice above `LEAST_RESOLUTION`, so resolutions begin at `ROUNDING`."""
ROUNDING = 32
"""Pixels, the total stride of most networks. The greatest resolution is the images' size, rounded up to a multiple."""


class Beginning(NamedTuple):
    """The resolved space of a run, and the record of its pretrained network; None where it starts from others."""

    space: SearchSpace
    init: InitRecord | None


def resolve_init(
    config: RunConfig, supported: Callable[[SearchSpace], SearchSpace], progress: Progress | None = None
) -> Beginning:
    """Return the space of a run and the pretrained network that its training starts from.

    `train.init: auto` takes the first installed network that fits the space which the config names and that all devices
    support, else random weights. With `space: auto` that is the first one: settings that do not fit it are errors.

    Args:
        config: the run's config.
        supported: returns a space without the operators that a device lacks.
        progress: called while weights are downloaded.

    Raises:
        WeightsError: a network that the config names cannot be had, or an installed one is damaged.
        SpaceError: it does not fit the space, or an input size is below its stride; or the config narrows a space that
            it leaves to edgenas in a way that does not fit.
        ConfigError: the config states another normalisation than the network's.
    """
    if config.train is None or not config.train.from_network:
        return Beginning(supported(config.load_space()), None)
    asked = str(config.train.init)
    if asked != AUTO:
        return _with_network(config, asked, load_pretrained(asked, progress), supported)
    names = installed_networks()
    for name in names:
        with suppress(_UnfitError):
            return _with_network(config, asked, load_pretrained(name, progress), supported)
    return _without_network(config, asked, names, supported)


class _UnfitError(SpaceError):
    """A network is not that of the space which the config names, or a device lacks an operator of it."""


def _with_network(
    config: RunConfig, asked: str, network: PretrainedNetwork, supported: Callable[[SearchSpace], SearchSpace]
) -> Beginning:
    space = _fitting_space(config, network, supported)
    check_pixels(config.images, network.pixels, network.name)
    pixels = network.pixels
    return Beginning(
        space,
        InitRecord(asked=asked, network=network.facts, note=None, mean=pixels.mean, std=pixels.std, crop=pixels.crop),
    )


def _fitting_space(
    config: RunConfig, network: PretrainedNetwork, supported: Callable[[SearchSpace], SearchSpace]
) -> SearchSpace:
    """Return the space of a run, which fits the network.

    Raises:
        _UnfitError: another network may fit.
        SpaceError: the config narrows the space around the network to one that does not fit it.
    """
    if config.has_auto_space:
        space = _auto_space(config, network)
        _check_fits(config, space, network)
    else:
        space = config.load_space()
    try:
        space = supported(space)
        _check_fits(config, space, network)
    except SpaceError as error:
        raise _UnfitError(str(error)) from None
    return space


def _check_fits(config: RunConfig, space: SearchSpace, network: PretrainedNetwork) -> None:
    check_fits(space, network.module, kernel_transforms=config.training.kernel_transforms)
    stride = space.stem.stride * math.prod(stage.stride for stage in space.stages)
    if space.resolution[0] < stride:
        raise SpaceError(
            f"space {space.name}: resolution {space.resolution[0]} is below {stride}, the stride of {network.name}: "
            f"narrow it to greater ones"
        )


def _without_network(
    config: RunConfig, asked: str, unfit: list[str], supported: Callable[[SearchSpace], SearchSpace]
) -> Beginning:
    """Return a run from random weights, in a preset space where the config leaves the choice.

    Args:
        config: the run's config.
        asked: value of `train.init`.
        unfit: installed networks, of which none fits the config.
        supported: see `resolve_init`.

    Raises:
        SpaceError: the preset cannot be narrowed as the config narrows the space around a network.
    """
    pixels = Pixels()
    cause = f"no pretrained network is installed ({INSTALL_PRETRAINED})"
    if unfit:
        cause = f"none of {', '.join(unfit)} fits the config: name one in train.init to see why"
    space = _preset_space(config, cause) if config.has_auto_space else config.load_space()
    note = f"training started from random weights in the space {space.name}, because {cause}"
    record = InitRecord(asked=asked, network=None, note=note, mean=pixels.mean, std=pixels.std, crop=pixels.crop)
    return Beginning(supported(space), record)


def _preset_space(config: RunConfig, cause: str) -> SearchSpace:
    """Return the preset that suits the images, narrowed like the space around a network would be."""
    preset = recommend_preset(source_side(config.images), set_size(config.images, config.seed).train)
    try:
        return config.narrowed(load_space(preset))
    except SpaceError as error:
        raise SpaceError(
            f"space: auto is around a pretrained network, but {cause}. The preset {preset} is taken instead, and does "
            f"not fit what the config states: {error}"
        ) from None


def _auto_space(config: RunConfig, network: PretrainedNetwork) -> SearchSpace:
    """Return the space around a network: its blocks as they are, fewer of them, and fewer pixels.

    In a short training, networks of fewer channels or smaller kernels stay behind these at equal latency, see
    examples/results/LOG.md. A supernet's space is its own, with its own resolutions.
    """
    if isinstance(network.module, SuperNet):
        return config.narrowed(network.module.space.without_classes())
    stated = config.stated_resolutions
    resolutions = suited_resolutions(source_side(config.images), network.facts.resolution) if stated is None else stated
    space = space_from(
        network.module,
        name=network_name(network.name),
        kernels=(),
        expand_ratios=(),
        widths=(),
        resolutions=resolutions,
    )
    return config.narrowed(space)


def suited_resolutions(side: int, own: int) -> list[int]:
    """Return resolutions for images of this shorter side and a network whose own input size is `own`, in pixels."""
    enlarged = math.ceil(side / ROUNDING) * ROUNDING
    greatest = max(SMALL_IMAGES, min(enlarged, own, GREATEST_RESOLUTION))
    step = FINE_STEP if greatest <= FINE_UNTIL else COARSE_STEP
    least = LEAST_RESOLUTION if greatest > SMALL_IMAGES else ROUNDING
    return list(range(greatest, least - 1, -step))[::-1]


def check_pixels(data: DataConfig, own: Pixels, name: str) -> None:
    """Refuse another normalisation than that of a pretrained network. The crop may differ: training gets used to it.

    Raises:
        ConfigError: data.mean or data.std differs.
    """
    stated = stated_pixels(data, own)
    for key in ("mean", "std"):
        if (given := getattr(stated, key)) != (expected := getattr(own, key)):
            raise ConfigError(
                f"data.{key}: expected {list(expected)}, with which {name} was trained, got {list(given)}: leave it out"
            )
