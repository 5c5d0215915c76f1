"""The effects of genes on accuracy and latency, and the changes if one gene of the chosen network moved."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgenas.records.paths import UNDERSTANDING
from edgenas.records.verify import AccuracyModel, Effect, GeneEffects, GeneMove, UnderstandingRecord
from edgenas.search.gaussian_process import Surrogate
from edgenas.search.importance import group_effects, single_moves
from edgenas.space.arch import Arch
from edgenas.space.space import Genes, SearchSpace
from edgenas.stages.budgets.computed_costs import COMPUTED
from edgenas.stages.budgets.limits import Limits

Floats = npt.NDArray[np.float64]
LEAST_EVALUATIONS, MOST_EVALUATIONS = 20, 200
"""Numbers of scores: fewer give no useful model; of more, so many are taken, since fitting time is cubic."""


def write_understanding(folder: Path, scored: Mapping[Arch, float], chosen: Arch, limits: Limits) -> None:
    """Write `verify/understanding.json` from scores and predictions; no file where there are too few scores.

    Args:
        folder: the run folder.
        scored: top-1 of all architectures that were scored.
        chosen: the chosen network.
        limits: budgets, costs and predictors of the run's space.
    """
    accuracy = _fit(limits.space, scored)
    if accuracy is None:
        (folder / UNDERSTANDING).unlink(missing_ok=True)
        return
    UnderstandingRecord(
        evaluations=len(accuracy.scored),
        model=AccuracyModel(kind=accuracy.model.kind_, **asdict(accuracy.model.quality_)),
        genes=_genes(accuracy, limits),
        moves=_moves(chosen, accuracy, limits),
    ).write(folder / UNDERSTANDING)


@dataclass(frozen=True)
class _Accuracy:
    """Top-1 on validation images: of the architectures that were scored, and a model of all others."""

    scored: Mapping[Arch, float]
    model: Surrogate


def _fit(space: SearchSpace, scored: Mapping[Arch, float]) -> _Accuracy | None:
    if len(scored) < LEAST_EVALUATIONS or len(set(scored.values())) == 1:
        return None
    ranked = sorted(scored, key=scored.__getitem__)
    indices = np.unique(np.linspace(0, len(ranked) - 1, MOST_EVALUATIONS).round().astype(int))
    archs = [ranked[index] for index in indices]
    top1 = np.array([scored[arch] for arch in archs])
    return _Accuracy(scored, Surrogate(space.n_choices, space.canonical).fit(space.encode(archs), top1))


def gene_groups(space: SearchSpace) -> dict[str, list[int]]:
    """Return the columns of genes by kind: resolution, and a stage's depth, width, kernels and expand ratios.

    Genes with a single choice are left out.
    """
    groups: dict[str, list[int]] = {}
    for column, (name, choices) in enumerate(space.choices.items()):
        if len(choices) > 1:
            groups.setdefault(re.sub(r"\.block\d+", "", name), []).append(column)
    return groups


def _genes(accuracy: _Accuracy, limits: Limits) -> tuple[GeneEffects, ...]:
    space = limits.space
    groups = gene_groups(space)

    def of(function: Callable[[Genes], Floats]) -> dict[str, Effect]:
        effects = group_effects(function, space.n_choices, groups, repair=space.canonical, seed=limits.seed)
        return {name: Effect(**asdict(effect)) for name, effect in effects.items()}

    top1 = of(accuracy.model.expect)
    latency = {device: of(predictor.predict) for device, predictor in limits.predictors.items()}
    return tuple(
        GeneEffects(name=name, val_top1=top1[name], latency_us={device: latency[device][name] for device in latency})
        for name in groups
    )


def _moves(arch: Arch, accuracy: _Accuracy, limits: Limits) -> tuple[GeneMove, ...]:
    """Return the moves of the chosen network. Both ends' latencies are predicted, so that they compare."""
    space = limits.space
    chosen = space.encode([arch])
    moves = single_moves(space.n_choices, chosen[0], space.canonical)
    if not moves:
        return ()
    genes = np.stack([move.genes for move in moves])
    latency = {n: (p.predict(genes) - p.predict(chosen)[0]).tolist() for n, p in limits.predictors.items()}
    costs = {each.name: (limits.costs(each, genes) - limits.costs(each, chosen)[0]).tolist() for each in COMPUTED}
    over = limits.values(genes) - np.array([budget.limit for budget in limits.budgets])
    top1 = _top1_changes(accuracy, arch, space.decode(genes), chosen, genes)
    choices = list(space.choices.items())
    return tuple(
        GeneMove(
            gene=choices[move.gene][0],
            before=choices[move.gene][1][move.before],
            after=choices[move.gene][1][move.after],
            arch=change.arch,
            latency_us={name: values[index] for name, values in latency.items()},
            costs={name: values[index] for name, values in costs.items()},
            within_budgets=bool((over[index] <= 0).all()),
            val_top1=change.val_top1,
            deviation=change.deviation,
            source="model" if change.deviation is not None else "scored",
        )
        for index, (move, change) in enumerate(zip(moves, top1, strict=True))
    )


@dataclass(frozen=True)
class _Top1Change:
    """The change of top-1 to another network; without a deviation where both networks were scored."""

    arch: Arch
    val_top1: float
    deviation: float | None


def _top1_changes(
    accuracy: _Accuracy, chosen: Arch, moved: Sequence[Arch], chosen_genes: Genes, genes: Genes
) -> list[_Top1Change]:
    """Return changes of top-1: as scored where both networks were, else as the model estimates them."""
    mean, deviation = accuracy.model.predict(genes)
    estimated = mean - accuracy.model.expect(chosen_genes)[0]
    scored = accuracy.scored
    return [
        _Top1Change(arch, scored[arch] - scored[chosen], None)
        if chosen in scored and arch in scored
        else _Top1Change(arch, float(change), float(spread))
        for arch, change, spread in zip(moved, estimated, deviation, strict=True)
    ]
