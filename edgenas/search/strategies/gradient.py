"""Gradient descent on relaxed genes, through a differentiable surrogate.

The idea of Liu et al., "DARTS", ICLR 2019, and Wu et al., "FBNet", CVPR 2019: a softmax over the choices of every gene,
with Gumbel noise (Jang et al., ICLR 2017), instead of one choice. Here a surrogate of the objectives is differentiated.
"""

from __future__ import annotations

import numpy as np

from edgenas.search.strategies.protocol import Floats, Genes, GenesFunction, Repair, Strategy

HIDDEN = 64
FIT_STEPS, FIT_RATE = 60, 0.01
"""Adam steps after every `tell`, on samples of all evaluations."""
FIT_ROWS = 256
DESCENT_STEPS, DESCENT_RATE = 30, 0.5
HOT, COLD = 2.0, 0.3
"""Temperatures of the softmax at the beginning and the end of a descent."""
RANDOM_SHARE = 0.1
"""Share of candidates drawn uniformly, for regions that the surrogate has not seen."""


class GradientStrategy(Strategy):
    """A small network models the objectives; each candidate descends their weighted sum from random genes.

    Each candidate has new random weights, so candidates spread along the front. Infeasible candidates are ignored.
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
        self._genes = np.empty((0, len(n_choices)), dtype=np.int64)
        self._objectives = np.empty((0, 0))
        self._model: Perceptron | None = None

    def ask(self, count: int) -> Genes:
        """Propose uniform genes before the first evaluation, then descended ones; shape (count, genes)."""
        random = self._rng.integers(0, self._n_choices, size=(count, len(self._n_choices)))
        if self._model is None:
            return random
        descended = self._descended(count, self._model)
        genes: Genes = np.where(self._rng.random((count, 1)) < RANDOM_SHARE, random, descended)
        return genes

    def tell(self, genes: Genes, objectives: Floats, violations: Floats) -> None:
        """Continue to fit the surrogate to all evaluations."""
        if self._model is None:
            self._objectives = objectives[:0]
            self._model = Perceptron(self._valid.size, objectives.shape[1], self._rng)
        self._genes = np.vstack([self._genes, genes])
        self._objectives = np.vstack([self._objectives, objectives])
        center, spread = self._objectives.mean(axis=0), self._objectives.std(axis=0)
        targets = (self._objectives - center) / np.where(spread > 0, spread, 1.0)
        for _ in range(FIT_STEPS):
            rows = self._rng.integers(0, len(targets), size=min(FIT_ROWS, len(targets)))
            self._model.fit_step(self._one_hot(self._genes[rows]), targets[rows])

    def _one_hot(self, genes: Genes) -> Floats:
        hot: Floats = (genes[:, :, None] == np.arange(self._valid.shape[1])).astype(np.float64)
        return hot.reshape(len(genes), self._valid.size)

    def _descended(self, count: int, model: Perceptron) -> Genes:
        shape = (count, *self._valid.shape)
        weights = self._rng.dirichlet(np.ones(self._objectives.shape[1]), size=count)
        logits = np.where(self._valid, self._rng.normal(size=shape), -np.inf)
        for step in range(DESCENT_STEPS):
            temperature = HOT * (COLD / HOT) ** (step / (DESCENT_STEPS - 1))
            relaxed = _softmax((logits + self._rng.gumbel(size=shape)) / temperature)
            slope = model.slope(relaxed.reshape(count, self._valid.size), weights).reshape(shape)
            downwards = relaxed * (slope - (relaxed * slope).sum(axis=2, keepdims=True)) / temperature
            # Steps have a fixed length, however flat the surrogate is.
            length = np.linalg.norm(downwards, axis=(1, 2), keepdims=True)
            logits = logits - DESCENT_RATE * downwards / np.maximum(length, 1e-12)
        genes: Genes = logits.argmax(axis=2).astype(np.int64)
        return genes


class Perceptron:
    """One hidden layer of tanh, fitted by Adam (Kingma and Ba, ICLR 2015) to squared errors."""

    def __init__(self, inputs: int, outputs: int, rng: np.random.Generator) -> None:
        self._weights = [
            rng.normal(scale=inputs**-0.5, size=(inputs, HIDDEN)),
            np.zeros(HIDDEN),
            rng.normal(scale=HIDDEN**-0.5, size=(HIDDEN, outputs)),
            np.zeros(outputs),
        ]
        self._first = [np.zeros_like(weight) for weight in self._weights]
        self._second = [np.zeros_like(weight) for weight in self._weights]
        self._steps = 0

    def predict(self, inputs: Floats) -> Floats:
        """Return the outputs, shape (n, inputs) to (n, outputs)."""
        hidden = np.tanh(inputs @ self._weights[0] + self._weights[1])
        outputs: Floats = hidden @ self._weights[2] + self._weights[3]
        return outputs

    def slope(self, inputs: Floats, weights: Floats) -> Floats:
        """Return the gradient of the weighted sum of outputs with respect to the inputs, shape (n, inputs)."""
        hidden = np.tanh(inputs @ self._weights[0] + self._weights[1])
        slope: Floats = ((weights @ self._weights[2].T) * (1 - hidden**2)) @ self._weights[0].T
        return slope

    def fit_step(self, inputs: Floats, targets: Floats) -> None:
        """Take one Adam step on the mean squared error."""
        hidden = np.tanh(inputs @ self._weights[0] + self._weights[1])
        error = 2 * (hidden @ self._weights[2] + self._weights[3] - targets) / len(inputs)
        back = (error @ self._weights[2].T) * (1 - hidden**2)
        slopes = [inputs.T @ back, back.sum(axis=0), hidden.T @ error, error.sum(axis=0)]
        self._steps += 1
        for weight, slope, first, second in zip(self._weights, slopes, self._first, self._second, strict=True):
            first += 0.1 * (slope - first)
            second += 0.001 * (slope**2 - second)
            corrected = second / (1 - 0.999**self._steps)
            weight -= FIT_RATE * (first / (1 - 0.9**self._steps)) / (np.sqrt(corrected) + 1e-8)


def _softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: Floats = powers / powers.sum(axis=-1, keepdims=True)
    return shares
