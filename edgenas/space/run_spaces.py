"""RunSpaces: the search space of a run, and the spaces of the pretrained networks on its shelf."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgenas.errors import SpaceError, one_of
from edgenas.space.arch import Arch, parse_arch
from edgenas.space.space import SearchSpace


@dataclass(frozen=True)
class RunSpaces:
    """The spaces that the architectures of a run are in.

    Attributes:
        own: the search space of the run.
        shelf: the spaces of pretrained networks, by the names that their architectures begin with.
    """

    own: SearchSpace
    shelf: Mapping[str, SearchSpace]

    def of(self, arch: Arch) -> SearchSpace:
        """Return the space that an architecture names.

        Raises:
            SpaceError: it names a network that is not on the shelf; those that are on it are listed.
        """
        if not arch.network:
            return self.own
        if arch.network not in self.shelf:
            on_it = one_of(arch.network, self.shelf) if self.shelf else "it holds none (shelf in the config)"
            raise SpaceError(f"arch {arch}: the network {arch.network} is not on the shelf of this run; {on_it}")
        return self.shelf[arch.network]

    def parse(self, text: str) -> Arch:
        """Return the architecture that a text states.

        Raises:
            SpaceError: the text is malformed, or its architecture is in none of the spaces.
        """
        return self.of(parse_arch(text)).parse(text)
