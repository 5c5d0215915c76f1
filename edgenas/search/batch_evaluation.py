"""Evaluation of batches: the result of `evaluate` is checked, and failing candidates are isolated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgenas.errors import EdgenasError, UserError, first_line
from edgenas.search.strategies.protocol import Floats, Genes, GenesFunction

TOLERATED_FAILURES = 3
"""Failures allowed in every batch; more are an error if they are over half of the batch."""


@dataclass(frozen=True)
class Failure:
    """A candidate that could not be evaluated."""

    genes: tuple[int, ...]
    cause: str
    """The objectives if they were NaN or infinite, else the exception."""
    name: str
    """Name of the candidate in messages."""

    def __str__(self) -> str:
        return f"{self.name}: {self.cause}"


@dataclass(frozen=True, eq=False)
class Batch:
    """Candidates evaluated together."""

    genes: Genes
    """Candidates that did not fail, shape (n, genes)."""
    objectives: Floats
    """Shape (n, objectives), finite."""
    violations: Floats
    """Shape (n, constraints)."""
    failures: tuple[Failure, ...]


def unnamed(genes: Genes) -> str:
    """Return the default name of a candidate in messages, from its genes, shape (genes,)."""
    return f"genes {genes.tolist()}"


def evaluate_batch(
    evaluate: GenesFunction, genes: Genes, violations: Floats, named: Callable[[Genes], str] = unnamed
) -> Batch:
    """Evaluate candidates; if that raises, evaluate each separately, so that only failing ones are lost.

    Args:
        evaluate: function from genes to objectives, shape (n, objectives).
        genes: shape (n, genes), n > 0.
        violations: violations of these genes, shape (n, constraints).
        named: function from genes, shape (genes,), to the candidate's name in messages.

    Raises:
        UserError: raised by `evaluate`, or its result has a wrong shape.
        EdgenasError: over half of the batch, and more than 3, failed.
    """
    try:
        objectives = _matrix(evaluate, genes)
    except UserError:
        raise
    except Exception:
        return _one_by_one(evaluate, genes, violations, named)
    finite = np.all(np.isfinite(objectives), axis=1)
    failures = [
        _not_finite(row, values, named) for row, values in zip(genes[~finite], objectives[~finite], strict=True)
    ]
    _check(failures, len(genes))
    return Batch(genes[finite], objectives[finite], violations[finite], tuple(failures))


def _one_by_one(evaluate: GenesFunction, genes: Genes, violations: Floats, named: Callable[[Genes], str]) -> Batch:
    succeeded: list[int] = []
    objectives: list[Floats] = []
    failures: list[Failure] = []
    for number, row in enumerate(genes):
        try:
            values = _matrix(evaluate, row[None])
        except UserError:
            raise
        except Exception as error:
            cause = f"{type(error).__name__}: {first_line(error)}"
            failures.append(Failure(tuple(row.tolist()), cause, named(row)))
            _check(failures, len(genes), error)
            continue
        if np.isfinite(values).all():
            succeeded.append(number)
            objectives.append(values)
        else:
            failures.append(_not_finite(row, values[0], named))
            _check(failures, len(genes))
    rows = np.concatenate(objectives) if objectives else np.empty((0, 1))
    return Batch(genes[succeeded], rows, violations[succeeded], tuple(failures))


def _matrix(evaluate: GenesFunction, genes: Genes) -> Floats:
    objectives = np.asarray(evaluate(genes.copy()), dtype=np.float64)
    if objectives.ndim != 2 or len(objectives) != len(genes) or objectives.shape[1] == 0:
        raise UserError(f"evaluate: expected shape ({len(genes)}, objectives), got {objectives.shape}")
    return objectives


def _not_finite(genes: Genes, objectives: Floats, named: Callable[[Genes], str]) -> Failure:
    return Failure(tuple(genes.tolist()), f"objectives {objectives.tolist()}", named(genes))


def _check(failures: list[Failure], count: int, cause: Exception | None = None) -> None:
    if len(failures) > max(TOLERATED_FAILURES, count / 2):
        raise EdgenasError(
            f"evaluate: {len(failures)} of {count} candidates failed (raised, or gave NaN or infinity), the first "
            f"is {failures[0]}. Fix the objectives"
        ) from cause


def check_exact(exact: npt.ArrayLike, objectives: Floats) -> None:
    """Check that the cheap objectives equal the last columns of all objectives.

    Raises:
        UserError: they differ.
    """
    cheap = np.asarray(exact, dtype=np.float64)
    if cheap.ndim != 2 or len(cheap) != len(objectives) or not 0 < cheap.shape[1] <= objectives.shape[1]:
        raise UserError(
            f"exact: expected some of the last columns of evaluate's result, of shape {objectives.shape}, "
            f"got shape {cheap.shape}"
        )
    same = np.isclose(cheap, objectives[:, -cheap.shape[1] :], rtol=1e-6, atol=1e-12, equal_nan=True)
    if not same.all():
        raise UserError(
            f"exact: {int((~same).sum())} of {same.size} values differ from the last columns of "
            "evaluate's result; both must compute the same objectives"
        )
