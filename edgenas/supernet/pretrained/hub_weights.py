"""Networks of timm with weights from the Hugging Face Hub: those that timm publishes, and those of other repositories.

Only safetensors and JSON are read from the Hub, and no code.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import nn

from edgenas.errors import SpaceError, WeightsError, explained, shown
from edgenas.progress import Progress
from edgenas.supernet.pretrained.hub_files import (
    CARD,
    CONFIG,
    WEIGHTS,
    cached_file,
    cached_repositories,
    check_hub_file,
    hub_file,
    stated_licence,
)
from edgenas.supernet.pretrained.network_names import named_network, timm_package
from edgenas.supernet.pretrained.weights_file import WeightsFile

TIMM, HF = "timm", "hf"
MOST_CONFIG_BYTES = 2**20
HARMLESS_OPTIONS = ("drop_rate", "drop_path_rate")
"""Options of a network that change nothing when it is evaluated."""
Side = Annotated[int, Field(ge=32, le=1024)]
Share = Annotated[float, Field(ge=0, le=1)]
Spread = Annotated[float, Field(gt=0, le=1)]


class _Input(BaseModel):
    """Input of a network: channels, height and width; normalisation; share of the image's shorter side."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)
    input_size: tuple[int, Side, Side]
    mean: tuple[Share, Share, Share]
    std: tuple[Spread, Spread, Spread]
    crop_pct: Annotated[float, Field(gt=0.1, le=1)]


class _HubConfig(BaseModel):
    """config.json of a repository of timm: its name of the network, and the input of the weights."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)
    architecture: str
    pretrained_cfg: _Input
    model_args: dict[str, Any] = {}


@dataclass(frozen=True)
class TimmSource:
    """A network of timm with the weights that timm publishes for it, like `mobilenetv3_large_100.ra_in1k`."""

    network: str

    def module(self) -> nn.Module:
        """Return the network."""
        return named_network(f"{TIMM}:{self.network}")

    def file(self, progress: Progress | None) -> WeightsFile:
        """Return the file of the weights."""
        repository = timm_package().models.get_pretrained_cfg(self.network).hf_hub_id
        if not repository:
            raise WeightsError(
                f"weights {TIMM}:{self.network}: timm publishes none as safetensors: choose another network, or give a "
                f"file of your own as {TIMM}:{self.network}@FILE"
            )
        return _hub_weights(repository, progress)


@dataclass(frozen=True)
class HubSource:
    """A network of timm with weights of any repository on the Hub."""

    repository: str

    def module(self) -> nn.Module:
        """Return the network that the repository's config.json names, with its input in `pretrained_cfg`.

        Raises:
            WeightsError: config.json cannot be had, or describes no network of timm.
        """
        config = _read_config(hub_file(self.repository, CONFIG, None), self.repository)
        try:
            module = named_network(f"{TIMM}:{config.architecture}")
        except SpaceError as error:
            raise WeightsError(f"weights {HF}:{self.repository}: {error}") from None
        module.pretrained_cfg = config.pretrained_cfg.model_dump()  # type: ignore[assignment]
        return module

    def file(self, progress: Progress | None) -> WeightsFile:
        """Return the file of the weights."""
        return _hub_weights(self.repository, progress)


def cached_timm_names() -> list[str]:
    """Return the names of networks whose weights by timm are in the cache, like `timm:tf_efficientnet_lite0.in1k`."""
    return [f"{TIMM}:{repository.removeprefix(f'{TIMM}/')}" for repository in cached_repositories(TIMM)]


def _hub_weights(repository: str, progress: Progress | None) -> WeightsFile:
    path = cached_file(repository, WEIGHTS)
    if path is None:
        path = hub_file(repository, WEIGHTS, progress)
        _try_card(repository)
    sha256, stated = check_hub_file(path, repository)
    return WeightsFile(
        path=path,
        origin=f"https://huggingface.co/{repository}",
        licence=stated_licence(repository),
        sha256=sha256,
        hash_from="published" if stated else "first download",
    )


def _try_card(repository: str) -> None:
    """Download the model card, which states the licence; a repository may lack it."""
    try:
        hub_file(repository, CARD, None)
    except WeightsError:
        return


def _read_config(path: Path, repository: str) -> _HubConfig:
    lead = f"weights {HF}:{repository}: {CONFIG}"
    if path.stat().st_size > MOST_CONFIG_BYTES:
        raise WeightsError(f"{lead} is larger than {MOST_CONFIG_BYTES:,} bytes: expected the one of a network of timm")
    try:
        config = _HubConfig.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise WeightsError(
            f"{lead} does not describe a network of timm: {explained(error.errors())}: choose a repository of timm"
        ) from None
    options = [name for name in config.model_args if name not in HARMLESS_OPTIONS]
    if options:
        raise WeightsError(
            f"{lead} changes the network by model_args {shown(options)}: edgenas reads networks as timm builds them"
        )
    if config.pretrained_cfg.input_size[1] != config.pretrained_cfg.input_size[2]:
        raise WeightsError(f"{lead} has input_size {config.pretrained_cfg.input_size}: expected square images")
    return config
