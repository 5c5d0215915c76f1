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
"""Each name's module of this room and class."""
POPULATION, POPULATIONS = 12, {"surrogate": 8}
"""Candidates in a batch where every evaluation costs: a surrogate is best fitted again after few."""


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


def check_strategy(name: str) -> None:
    """Refuse a strategy that could not be used here.

    Raises:
        ConfigError: there is none of that name, or it needs a package that is not installed; the install line is told.
    """
    strategy_class(name)
    if name == "bayesian":
        from edgenas.search.strategies.bayesian import load_optuna

        load_optuna()


def default_population(name: str) -> int:
    """Candidates in a batch of a strategy, where the config does not say; whatever the number of evaluations."""
    return POPULATIONS.get(name, POPULATION)
