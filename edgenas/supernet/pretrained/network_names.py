"""Networks of torchvision and timm by name, without weights."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torchvision import models

from edgenas.errors import SpaceError, one_of, shown
from edgenas.space.loading import preset_names
from edgenas.supernet.pretrained.families import FAMILIES
from edgenas.supernet.pretrained.source_network import family_of

TORCHVISION_NAMES = ("mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small", "mnasnet1_0", "efficientnet_b0")
TIMM_NAMES = (
    "mobilenetv3_large_100",
    "tf_efficientnet_lite0",
    "tf_efficientnet_lite1",
    "tf_efficientnet_lite2",
    "mobilenetv4_conv_small",
    "mobilenetv4_conv_medium",
)
"""Networks that are read; others of the same classes often are, too."""
OFA = "ofa-"
INSTALL_TIMM = "pip install 'edgenas[timm]'"


def once_for_all_presets() -> list[str]:
    """Return the names of the presets that are spaces around once-for-all's networks."""
    return [preset for preset in preset_names() if preset.startswith(OFA)]


def named_network(name: str) -> nn.Module:
    """Return a network of torchvision or timm, without weights, on the device meta.

    Args:
        name: its name there, `torchvision:` or `timm:` before it where both have it; torchvision comes first.

    Raises:
        SpaceError: neither library has it, timm, which has it, is not installed, or it is of another family.
    """
    library, _, plain = name.rpartition(":")
    if library in ("", "torchvision") and plain in models.list_models(models):
        _check_family(models.get_model_builder(plain))
        with torch.device("meta"):
            module: nn.Module = models.get_model(plain, weights=None)
        return module
    timm = timm_package()
    if library not in ("", "timm") or timm is None or not timm.is_model(plain):
        raise _unknown(name, has_timm=timm is not None)
    _check_family(timm.model_entrypoint(plain))
    with torch.device("meta"):
        return timm.create_model(plain, pretrained=False)  # type: ignore[no-any-return]


def _check_family(build: Callable[..., Any]) -> None:
    """Refuse another family before its network is built: some cannot be built on the device meta."""
    built = inspect.signature(build).return_annotation
    if isinstance(built, type):
        family_of(built, FAMILIES)


def _unknown(name: str, *, has_timm: bool) -> SpaceError:
    """Return the error for a name that is no network's."""
    library, _, plain = name.rpartition(":")
    presets = once_for_all_presets()
    if name in preset_names():
        return SpaceError(
            f"{shown(name)} is a preset, not a network: write `space: {name}` in the config; presets that "
            f"`edgenas space from` takes: {', '.join(presets)}"
        )
    if not has_timm and (library == "timm" or plain in TIMM_NAMES):
        return SpaceError(f"network {shown(name)} is one of timm, which is not installed: {INSTALL_TIMM}")
    valid = [*TORCHVISION_NAMES, *TIMM_NAMES, *presets]
    message = f"network {shown(name)} is unknown to torchvision{' and timm' if has_timm else ''}"
    install = "" if has_timm else f"; if it is one of timm, install that: {INSTALL_TIMM}"
    near = [*preset_names(), *models.list_models(models)]
    return SpaceError(f"{message}; {one_of(plain, valid, near)}, and others of their classes{install}")


def timm_package() -> Any:
    """Return the package timm; None where it is not installed."""
    try:
        return importlib.import_module("timm")
    except ModuleNotFoundError:
        return None
