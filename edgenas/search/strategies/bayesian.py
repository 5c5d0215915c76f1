"""Bayesian optimisation by Optuna's multi-objective tree-structured Parzen estimator (extra `bayes`).

Ozaki et al., "Multiobjective Tree-Structured Parzen Estimator", JAIR 73, 2022.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgenas.errors import ConfigError
from edgenas.search.strategies.protocol import Floats, Genes, GenesFunction, Repair, Strategy


class BayesianStrategy(Strategy):
    """Optuna's `TPESampler` over ordered genes. Infeasible candidates are ignored.

    Every evaluation is added as a finished trial, whatever proposed it. Optuna's own proposals stay pending until the
    next `tell`, so that proposals of one batch differ.
    """

    def __init__(
        self,
        n_choices: Genes,
        *,
        seed: int,
        population: int,
        initial: Genes | None = None,
        repair: Repair | None = None,
        exact: GenesFunction | None = None,
    ) -> None:
        self._optuna = load_optuna()
        self._n_choices = n_choices
        self._rng = np.random.default_rng(seed)
        self._sampler = self._optuna.samplers.TPESampler(seed=seed, n_startup_trials=population)
        self._genes = {
            f"g{gene:04d}": self._optuna.distributions.IntDistribution(0, choices - 1)
            for gene, choices in enumerate(n_choices.tolist())
        }
        self._study: Any = None
        self._pending: list[Any] = []

    def ask(self, count: int) -> Genes:
        """Propose random genes before the first evaluation, then Optuna's; shape (count, genes)."""
        if self._study is None:
            return self._rng.integers(0, self._n_choices, size=(count, len(self._n_choices)))
        trials = [self._study.ask(self._genes) for _ in range(count)]
        self._pending.extend(trials)
        rows = [[trial.params[name] for name in self._genes] for trial in trials]
        return np.array(rows, dtype=np.int64).reshape(count, len(self._genes))

    def tell(self, genes: Genes, objectives: Floats, violations: Floats) -> None:
        """Add finished trials, and mark pending ones as failed."""
        if self._study is None:
            directions = ["minimize"] * objectives.shape[1]
            self._study = self._optuna.create_study(directions=directions, sampler=self._sampler)
        for trial in self._pending:
            self._study.tell(trial, state=self._optuna.trial.TrialState.FAIL)
        self._pending.clear()
        for row, values in zip(genes.tolist(), objectives.tolist(), strict=True):
            params = dict(zip(self._genes, row, strict=True))
            self._study.add_trial(
                self._optuna.trial.create_trial(params=params, distributions=self._genes, values=values)
            )


def load_optuna() -> Any:
    """Import and return Optuna.

    Raises:
        ConfigError: it is not installed; the message contains the install line.
    """
    try:
        import optuna
    except ImportError as error:
        raise ConfigError(
            "strategy bayesian needs Optuna, which is not installed: pip install 'edgenas[bayes]'"
        ) from error
    # Optuna logs every study on standard error.
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
