"""What the space's genes buy and cost, and what would change if one gene of the chosen network moved."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.accuracy.source import open_source
from edgenas.files import write_json
from edgenas.runs.folder import Run
from edgenas.runs.results import read_evaluations
from edgenas.search.gaussian_process import Surrogate
from edgenas.search.importance import Move, group_effects, single_moves
from edgenas.space.arch import Arch
from edgenas.space.space import Genes, SearchSpace
from edgenas.stages.computed_costs import COMPUTED
from edgenas.stages.limits import Limits
from edgenas.stages.supernet_scores import evaluations_path

Floats = npt.NDArray[np.float64]
FILE = "verify/understanding.json"
LEAST_EVALUATIONS, MOST_EVALUATIONS = 20, 200
"""Fewer train a model nothing; of more, so many are taken, evenly by accuracy: fitting takes their cube in time."""


def write_understanding(run: Run, chosen: Arch, limits: Limits) -> None:
    """Write `verify/understanding.json` from what was scored and is predicted; none where too little was scored."""
    accuracy = _learn(run)
    if accuracy is None:
        (run.folder / FILE).unlink(missing_ok=True)
        return
    quality = asdict(accuracy.model.quality_)
    known = {"evaluations": len(accuracy.known), "model": {"kind": accuracy.model.kind_, **quality}}
    genes = _genes(run, accuracy, limits)
    write_json(run.folder / FILE, known | {"genes": genes, "moves": _moves(run, chosen, accuracy, limits)})


@dataclass(frozen=True)
class _Accuracy:
    """Top-1 on validation images: of archs that were scored, and a model of the rest."""

    known: dict[str, float]
    model: Surrogate


def _learn(run: Run) -> _Accuracy | None:
    told = run.config.accuracy
    weights = open_source(told, run.space).digest if told else run.result("train").get("weights")
    rows = [row for row in read_evaluations(evaluations_path(run), run.space) if row["weights"] == weights]
    known = {row["arch"]: 1 - float(row["error"]) for row in rows}
    if len(known) < LEAST_EVALUATIONS or len(set(known.values())) == 1:
        return None
    ranked = sorted(known, key=lambda arch: known[arch])
    places = np.unique(np.linspace(0, len(ranked) - 1, MOST_EVALUATIONS).round().astype(int))
    archs = [ranked[place] for place in places]
    genes = run.space.encode([run.space.parse(arch) for arch in archs])
    model = Surrogate(run.space.n_choices, run.space.canonical).fit(genes, np.array([known[arch] for arch in archs]))
    return _Accuracy(known, model)


def gene_groups(space: SearchSpace) -> dict[str, list[int]]:
    """Columns of genes by what they are: resolution, and a stage's depth, width, kernels and expand ratios.

    What has a single choice is left out.
    """
    groups: dict[str, list[int]] = {}
    for column, (name, choices) in enumerate(space.choices.items()):
        if len(choices) > 1:
            groups.setdefault(re.sub(r"\.block\d+", "", name), []).append(column)
    return groups


def _genes(run: Run, accuracy: _Accuracy, limits: Limits) -> list[dict[str, Any]]:
    space = run.space
    groups = gene_groups(space)

    def of(function: Callable[[Genes], Floats]) -> dict[str, dict[str, float]]:
        found = group_effects(function, space.n_choices, groups, repair=space.canonical, seed=run.config.seed)
        return {name: asdict(effect) for name, effect in found.items()}

    top1 = of(accuracy.model.expect)
    latency = {device: of(predictor.predict) for device, predictor in limits.predictors.items()}
    return [
        {"name": name, "val_top1": top1[name], "latency_us": {device: latency[device][name] for device in latency}}
        for name in groups
    ]


def _moves(run: Run, arch: Arch, accuracy: _Accuracy, limits: Limits) -> list[dict[str, Any]]:
    """Of the chosen network; latencies are predicted, so that both ends are told by the same means."""
    space = run.space
    chosen = space.encode([arch])
    moves = single_moves(space.n_choices, chosen[0], space.canonical)
    if not moves:
        return []
    genes = np.stack([move.genes for move in moves])
    latency = {n: (p.predict(genes) - p.predict(chosen)[0]).tolist() for n, p in limits.predictors.items()}
    costs = {each.name: (limits.costs(each, genes) - limits.costs(each, chosen)[0]).tolist() for each in COMPUTED}
    over = limits.values(genes) - np.array([budget.limit for budget in limits.budgets])
    top1 = _changes(accuracy, arch.id, [moved.id for moved in space.decode(genes)], chosen, genes)
    return [
        _named(space, move)
        | {"latency_us": {name: change[number] for name, change in latency.items()}}
        | {"costs": {name: change[number] for name, change in costs.items()}}
        | {"within_budgets": bool((over[number] <= 0).all()), **top1[number]}
        for number, move in enumerate(moves)
    ]


def _named(space: SearchSpace, move: Move) -> dict[str, Any]:
    name, choices = list(space.choices.items())[move.gene]
    return {"gene": name, "before": choices[move.before], "after": choices[move.after]}


def _changes(
    accuracy: _Accuracy, chosen: str, moved: Sequence[str], chosen_genes: Genes, genes: Genes
) -> list[dict[str, Any]]:
    """Changes of top-1: as scored where both were, else as the model foresees them."""
    mean, deviation = accuracy.model.predict(genes)
    foreseen = mean - accuracy.model.expect(chosen_genes)[0]
    known = accuracy.known
    return [
        {"arch": arch, "val_top1": known[arch] - known[chosen], "deviation": None, "source": "scored"}
        if chosen in known and arch in known
        else {"arch": arch, "val_top1": float(change), "deviation": float(spread), "source": "model"}
        for arch, change, spread in zip(moved, foreseen, deviation, strict=True)
    ]
