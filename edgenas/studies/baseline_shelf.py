"""The shelf of a run as a baseline: pretrained networks that are fine-tuned as they are, without a search."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from edgenas.runs.run import Run
from edgenas.space.arch import Arch
from edgenas.space.space import ClassifierSpace
from edgenas.stages.weights.starting_network import shelf_network
from edgenas.supernet.pixels import Pixels
from edgenas.supernet.subnet import Subnet


@dataclass(frozen=True)
class ShelfRivals:
    """The networks of a run's shelf, by name.

    Attributes:
        spaces: the space of each network, with the run's classes: the network alone, at several resolutions.
        pixels: normalisation of its inputs.
        digests: SHA-256 of its weights.
        initial: returns an architecture with pretrained weights and a new classifier of seeded weights.
    """

    spaces: Mapping[str, ClassifierSpace]
    pixels: Mapping[str, Pixels]
    digests: Mapping[str, str]
    initial: Callable[[Arch, int], Subnet]

    @classmethod
    def of(cls, run: Run) -> ShelfRivals:
        """Return the networks of a run's shelf.

        Raises:
            RunFolderError: a file of the shelf is missing or damaged.
        """
        networks = run.shelf.networks
        return cls(
            spaces={name: space.with_classes(run.num_classes) for name, space in run.shelf.spaces.items()},
            pixels={name: Pixels(own.mean, own.std, own.crop) for name, own in networks.items()},
            digests={name: own.weights.sha256 for name, own in networks.items()},
            initial=partial(shelf_network, run),
        )
