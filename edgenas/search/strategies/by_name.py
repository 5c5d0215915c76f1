"""Strategies by name. Each is imported on use: `import edgenas` loads no pymoo."""

from __future__ import annotations

from importlib import import_module

from edgenas.errors import ConfigError, one_of
from edgenas.search.strategies.protocol import Strategy

STRATEGIES = {
    "bayesian": "bayesian:BayesianStrategy",
    "gradient": "gradient:GradientStrategy",
    "grid": "grid:GridStrategy",
    "nsga2": "nsga2:NSGA2Strategy",
    "random": "random:RandomStrategy",
    "reinforce": "reinforce:ReinforceStrategy",
    "regularized-evolution": "regularized_evolution:RegularizedEvolutionStrategy",
    "surrogate": "surrogate:SurrogateStrategy",
}
"""Module of this package and class, by name."""
POPULATION, POPULATIONS = 12, {"surrogate": 8}
"""Default batch sizes for expensive evaluations: a surrogate is refitted after few."""


def strategy_class(name: str) -> type[Strategy]:
    """Return the class of a strategy.

    Raises:
        ConfigError: the name is unknown.
    """
    if name not in STRATEGIES:
        raise ConfigError(f"strategy {name!r} is unknown; {one_of(name, STRATEGIES)}")
    module, _, strategy = STRATEGIES[name].partition(":")
    loaded: type[Strategy] = getattr(import_module(f"edgenas.search.strategies.{module}"), strategy)
    return loaded


def check_strategy(name: str) -> None:
    """Refuse an unknown strategy, or one whose package is not installed.

    Raises:
        ConfigError: the name is unknown, or a package is missing; the message contains the install line.
    """
    strategy_class(name)
    if name == "bayesian":
        from edgenas.search.strategies.bayesian import load_optuna

        load_optuna()


def default_population(name: str) -> int:
    """Return a strategy's default batch size, which does not depend on the number of evaluations."""
    return POPULATIONS.get(name, POPULATION)
