"""Networks of torchvision with its published weights, in the cache of torch.hub."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn
from torchvision import models

from edgenas.errors import WeightsError, one_of, shown
from edgenas.progress import Progress
from edgenas.supernet.pretrained.network_names import named_network
from edgenas.supernet.pretrained.url_download import cached_path, check_file, downloaded
from edgenas.supernet.pretrained.weights_file import WeightsFile

PREFIX = "torchvision"


@dataclass(frozen=True)
class TorchvisionSource:
    """A network of torchvision.

    Attributes:
        network: its name there.
        weights: name of its weights there, such as `IMAGENET1K_V2`; None: torchvision's default.
    """

    network: str
    weights: str | None = None

    def module(self) -> nn.Module:
        """Return the network, with the input of its weights as timm states it, in `pretrained_cfg`."""
        module = named_network(f"{PREFIX}:{self.network}")
        transforms = self._published.transforms()
        crop = transforms.crop_size[0] / transforms.resize_size[0]
        size = (3, transforms.crop_size[0], transforms.crop_size[0])
        config = {"input_size": size, "mean": transforms.mean, "std": transforms.std, "crop_pct": crop}
        module.pretrained_cfg = config  # type: ignore[assignment]
        return module

    def file(self, progress: Progress | None) -> WeightsFile:
        """Return the file of the weights."""
        published = self._published
        path = downloaded(f"{PREFIX}:{self.network}", [published.url], progress)
        sha256, in_name = check_file(path)
        metrics = published.meta.get("_metrics", {}).get("ImageNet-1K", {})
        return WeightsFile(
            path=path,
            origin=published.url,
            # torchvision states a licence for its code only.
            licence=None,
            sha256=sha256,
            hash_from="published" if in_name else "first download",
            top1_percent=metrics.get("acc@1"),
        )

    @property
    def cached(self) -> bool:
        """Whether the file is in the cache."""
        return cached_path(self._published.url).exists()

    @property
    def _published(self) -> Any:
        """Return torchvision's description of the weights."""
        choices = models.get_model_weights(self.network)
        if self.weights is None:
            return choices.DEFAULT
        if self.weights not in choices.__members__:
            raise WeightsError(
                f"weights {shown(self.weights)} are unknown to torchvision's {self.network}; "
                f"{one_of(self.weights, choices.__members__)}; for a file, write its path, like ./{self.weights}"
            )
        return choices[self.weights]


def cached_names() -> list[str]:
    """Return the names of networks whose weights are in the cache, such as `torchvision:mobilenet_v2`."""
    names = []
    for network in models.list_models(models):
        choices = models.get_model_weights(network)
        for weights in choices:
            name = f"{PREFIX}:{network}" if weights is choices.DEFAULT else f"{PREFIX}:{network}@{weights.name}"
            if name not in names and cached_path(weights.url).exists():
                names.append(name)
    return names
