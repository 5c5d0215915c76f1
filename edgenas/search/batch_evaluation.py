"""Calling `evaluate`: what it gives back is checked, and candidates that it fails on are told apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgenas.errors import EdgenasError, UserError, first_line
from edgenas.search.strategies.protocol import Floats, Genes, GenesFunction

TOLERATED_FAILURES = 3
"""Failures that one batch may always have; more are an error if they are over half of it."""


@dataclass(frozen=True)
class Failure:
    """A candidate that could not be evaluated."""

    genes: tuple[int, ...]
    cause: str
    """The objectives, where they were NaN or infinite; else what was raised."""
    name: str
    """What messages call it."""

    def __str__(self) -> str:
        return f"{self.name}: {self.cause}"


@dataclass(frozen=True, eq=False)
class Batch:
    """Candidates evaluated together."""

    genes: Genes
    """Those that did not fail, shape (n, genes)."""
    objectives: Floats
    """Shape (n, objectives), finite."""
    violations: Floats
    """Shape (n, constraints)."""
    failures: tuple[Failure, ...]


def unnamed(genes: Genes) -> str:
    """What messages call a candidate of which only the genes, shape (genes,), are known."""
    return f"genes {genes.tolist()}"


def evaluate_batch(
    evaluate: GenesFunction, genes: Genes, violations: Floats, named: Callable[[Genes], str] = unnamed
) -> Batch:
    """Evaluate candidates; where that raises, each alone, so that the others are kept.

    Args:
        evaluate: genes to objectives, shape (n, objectives).
        genes: shape (n, genes), n > 0.
        violations: of these genes, shape (n, constraints).
        named: what messages call a candidate, from its genes, shape (genes,).

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
    kept: list[int] = []
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
            kept.append(number)
            objectives.append(values)
        else:
            failures.append(_not_finite(row, values[0], named))
            _check(failures, len(genes))
    rows = np.concatenate(objectives) if objectives else np.empty((0, 1))
    return Batch(genes[kept], rows, violations[kept], tuple(failures))


def _matrix(evaluate: GenesFunction, genes: Genes) -> Floats:
    objectives = np.asarray(evaluate(genes.copy()), dtype=np.float64)
    if objectives.ndim != 2 or len(objectives) != len(genes) or objectives.shape[1] == 0:
        raise UserError(f"evaluate: wanted shape ({len(genes)}, objectives), got {objectives.shape}")
    return objectives


def _not_finite(genes: Genes, objectives: Floats, named: Callable[[Genes], str]) -> Failure:
    return Failure(tuple(genes.tolist()), f"objectives {objectives.tolist()}", named(genes))


def _check(failures: list[Failure], of: int, cause: Exception | None = None) -> None:
    if len(failures) > max(TOLERATED_FAILURES, of / 2):
        raise EdgenasError(
            f"evaluate: {len(failures)} of {of} candidates failed (raised, or gave NaN or infinity), the first of "
            f"them {failures[0]}. The search would be blind: mend the objectives"
        ) from cause


def check_exact(exact: npt.ArrayLike, objectives: Floats) -> None:
    """That the cheap objectives are the last columns of all.

    Raises:
        UserError: they are not.
    """
    cheap = np.asarray(exact, dtype=np.float64)
    if cheap.ndim != 2 or len(cheap) != len(objectives) or not 0 < cheap.shape[1] <= objectives.shape[1]:
        raise UserError(
            f"exact: wanted some of the last columns of evaluate's result, of shape {objectives.shape}, "
            f"got shape {cheap.shape}"
        )
    same = np.isclose(cheap, objectives[:, -cheap.shape[1] :], rtol=1e-6, atol=1e-12, equal_nan=True)
    if not same.all():
        raise UserError(
            f"exact: {int((~same).sum())} of {same.size} values differ from the last columns of "
            "evaluate's result; both must compute the same objectives"
        )
