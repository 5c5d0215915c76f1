"""Strategies by name. Each is imported on use: `import edgenas` loads no pymoo."""

from __future__ import annotations

from importlib import import_module

from edgenas.errors import ConfigError, one_of
from edgenas.search.strategies.protocol import Strategy

STRATEGIES = {
    "nsga2": "nsga2:NSGA2Strategy",
    "random": "random:RandomStrategy",
    "surrogate": "surrogate:SurrogateStrategy",
}
"""Each name's module of this room and class."""


def strategy_class(name: str) -> type[Strategy]:
    """The strategy of a name.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in STRATEGIES:
        raise ConfigError(f"strategy {name!r} is unknown; {one_of(name, STRATEGIES)}")
    module, _, strategy = STRATEGIES[name].partition(":")
    found: type[Strategy] = getattr(import_module(f"edgenas.search.strategies.{module}"), strategy)
    return found
