"""JSON of block costs, as part of a saved latency predictor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from edgenas.latency.block_cost import BlockCosts, KindRegression, PaperCosts
from edgenas.latency.network_features import PAPER

Coefficients = Annotated[
    tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...], Field(min_length=len(PAPER), max_length=len(PAPER))
]
FinitePositive = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]


def blocks_to_json(blocks: BlockCosts | PaperCosts, fold_blocks: tuple[PaperCosts, ...]) -> dict[str, Any]:
    """Return block costs, and those of each fold, as JSON values."""
    if isinstance(blocks, PaperCosts):
        folds = [fold.coefficients_us for fold in fold_blocks]
        return {"coefficients_us": blocks.coefficients_us, "fold_coefficients_us": folds}
    regressions = {kind: fit.to_json() for kind, fit in blocks.regressions.items()}
    return {"measured_us": dict(blocks.measured_us), "regressions": regressions}


def blocks_from_json(value: Mapping[str, Any]) -> tuple[BlockCosts | PaperCosts, tuple[PaperCosts, ...]]:
    """Read the output of `blocks_to_json`.

    Raises:
        ValueError: a value has another type or range.
        KeyError: a value is missing.
    """
    if "coefficients_us" in value:
        whole, *folds = (
            PaperCosts(TypeAdapter(Coefficients).validate_python(tuple(coefficients_us)))
            for coefficients_us in (value["coefficients_us"], *value["fold_coefficients_us"])
        )
        return whole, tuple(folds)
    regressions = {kind: KindRegression.from_json(kind, fit) for kind, fit in value["regressions"].items()}
    return BlockCosts(TypeAdapter(dict[str, FinitePositive]).validate_python(value["measured_us"]), regressions), ()
