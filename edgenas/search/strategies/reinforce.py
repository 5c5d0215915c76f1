"""A policy over genes, trained by the policy gradient.

Williams, "Simple statistical gradient-following algorithms for connectionist reinforcement learning", Machine Learning
8, 1992; a controller of architectures: Pham et al., "Efficient Neural Architecture Search", ICML 2018.
"""

from __future__ import annotations

import numpy as np

from edgenas.search.strategies.protocol import Floats, Genes, GenesFunction, Repair, Strategy

LEARNING_RATE = 0.3
ENTROPY = 0.01
"""Weight of the policy's entropy relative to the reward of unit spread, so that no choice's probability vanishes."""
SMOOTHING = 0.9
"""Smoothing factor of the running ranges that objectives are scaled by."""


class ReinforceStrategy(Strategy):
    """Independent categorical genes whose logits are linear in a preference among the objectives.

    Each candidate has a random preference (weights of the objectives from a uniform Dirichlet distribution), which also
    defines its reward, so one policy covers the whole front. The baseline is the mean of the batch. Infeasible
    candidates have the lowest rewards of their batch.
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
        self._n_choices, self._repair = n_choices, repair
        self._rng = np.random.default_rng(seed)
        self._valid = np.arange(n_choices.max()) < n_choices[:, None]
        self._logits = np.zeros((0, *self._valid.shape))
        self._proposed: dict[bytes, Floats] = {}
        self._low, self._high = np.zeros(0), np.zeros(0)

    def ask(self, count: int) -> Genes:
        """Draw genes from the policy, uniform before the first evaluation; shape (count, genes)."""
        if not len(self._logits):
            return self._rng.integers(0, self._n_choices, size=(count, len(self._n_choices)))
        preferences = self._preferences(count)
        # The argmax of logits with Gumbel noise is a sample of their softmax.
        noise = self._rng.gumbel(size=(count, *self._valid.shape))
        genes: Genes = (self._logits_of(preferences) + noise).argmax(axis=2).astype(np.int64)
        canonical = genes if self._repair is None else self._repair(genes)
        self._proposed |= {row.tobytes(): preference for row, preference in zip(canonical, preferences, strict=True)}
        return canonical

    def tell(self, genes: Genes, objectives: Floats, violations: Floats) -> None:
        """Take one step along the gradient of the expected reward."""
        if not len(self._logits):
            self._logits = np.zeros((objectives.shape[1], *self._valid.shape))
            self._low, self._high = objectives.min(axis=0), objectives.max(axis=0)
        self._low = SMOOTHING * self._low + (1 - SMOOTHING) * objectives.min(axis=0)
        self._high = SMOOTHING * self._high + (1 - SMOOTHING) * objectives.max(axis=0)
        span = np.where(self._high > self._low, self._high - self._low, 1.0)
        preferences = self._preferences_of(genes)
        self._learn(genes, preferences, -(preferences * (objectives - self._low) / span).sum(axis=1))

    def reject(self, genes: Genes, violations: Floats) -> None:
        """Take a step away from infeasible candidates, in proportion to their violation."""
        if len(self._logits):
            self._learn(genes, self._preferences_of(genes), -np.maximum(violations, 0).sum(axis=1))

    def _learn(self, genes: Genes, preferences: Floats, rewards: Floats) -> None:
        spread = rewards.std()
        advantage = (rewards - rewards.mean()) / (spread if spread > 0 else 1.0)
        policy = _softmax(self._logits_of(preferences))
        taken = genes[:, :, None] == np.arange(policy.shape[2])
        logarithm = np.log(np.maximum(policy, 1e-12))
        entropy = -(policy * logarithm).sum(axis=2, keepdims=True)
        upwards = advantage[:, None, None] * (taken - policy) - ENTROPY * policy * (logarithm + entropy)
        self._logits += LEARNING_RATE * np.einsum("no,ngc->ogc", preferences, upwards) / max(1, len(genes))

    def _logits_of(self, preferences: Floats) -> Floats:
        logits = np.einsum("no,ogc->ngc", preferences, self._logits) * len(self._logits)
        return np.where(self._valid, logits, -np.inf)

    def _preferences(self, count: int) -> Floats:
        return self._rng.dirichlet(np.ones(len(self._logits)), size=count)

    def _preferences_of(self, genes: Genes) -> Floats:
        """Return the preferences that candidates were drawn for; those of other origin get random ones."""
        drawn = self._preferences(len(genes))
        rows = [self._proposed.pop(row.tobytes(), other) for row, other in zip(genes, drawn, strict=True)]
        return np.stack(rows)


def _softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: Floats = powers / powers.sum(axis=-1, keepdims=True)
    return shares
