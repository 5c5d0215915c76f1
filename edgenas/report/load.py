"""Reads a run folder's files, and says which stage to run where one is missing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from edgenas.errors import RunFolderError, explained
from edgenas.files import read_json, read_jsonl, read_yaml
from edgenas.report.evidence_values import Hindsight, Trust, Worth
from edgenas.report.search_values import Evaluation, Fit, SearchFacts, Understanding
from edgenas.report.values import BundleFacts, Dataset, GraphVariants, Run, Score, Spent, Step, Summary, Validation

UNDERSTANDING, HINDSIGHT, COSTS = "verify/understanding.json", "export/hindsight.json", "costs.jsonl"
TRUST, WORTH, MODEL = "study/ranking/ranking.json", "study/baselines/baselines.json", "model.onnx"
T = TypeVar("T")
Told = TypeVar("Told", Step, Validation)


def load_run(folder: Path) -> Run:
    """Read a run folder whose stages are done.

    Raises:
        RunFolderError: a stage's file is missing or does not have the form it should; the command that makes it
            is named.
    """
    if not folder.is_dir():
        raise RunFolderError(f"run folder {folder} does not exist: `edgenas run CONFIG.yaml` makes one")
    summary = _read(Summary, folder, "summary.json", "export")
    devices = sorted(summary.predictors)
    if not devices:
        raise RunFolderError(f"{folder / 'summary.json'} names no device: `edgenas profile {folder}` measures one")
    bundle = _bundle(folder, summary)
    return Run(
        folder=folder,
        config=read_yaml(_need(folder, "config.yaml", "train")),
        dataset=_dataset(summary, folder),
        steps=_training(Step, summary, folder, "step"),
        validations=_training(Validation, summary, folder, "validation"),
        # A device that is known by a table of blocks has none.
        scores={
            d: _read(Score, folder, f"latency/{d}/score.json", "profile") for d in devices if summary.predictors[d]
        },
        circumstances={d: found for d in devices if (found := _said(folder, d, "circumstances"))},
        evaluations=_rows(Evaluation, folder, "search/evaluations.jsonl", "search"),
        search=_read(SearchFacts, folder, "search/result.json", "search"),
        summary=summary,
        fits=_rows(Fit, folder, "search/rounds.jsonl", "search") if (folder / "search/rounds.jsonl").exists() else (),
        understanding=_if_there(Understanding, folder, UNDERSTANDING, "verify"),
        graph_variants=_if_there(GraphVariants, folder, "latency/graph_variant.json", "profile"),
        bundle=bundle,
        **_evidence(folder, summary, bundle),
        identities={d: found for d in devices if (found := _said(folder, d, "identity"))},
        costs=_rows(Spent, folder, COSTS, "report") if (folder / COSTS).exists() else (),
    )


def _dataset(summary: Summary, folder: Path) -> Dataset:
    """The run's images; of a run without any, all that is known is what its accuracies are of."""
    if summary.supernet is None:
        return Dataset(name=summary.dataset, num_classes=summary.num_classes or 0, classes=(), counts={})
    return _read(Dataset, folder, "data.json", "train")


def _training(kind: type[Told], summary: Summary, folder: Path, named: str) -> tuple[Told, ...]:
    """Rows of the training; none where the weights were made elsewhere."""
    if summary.accuracy is not None:
        return ()
    return _last_of_each_step(_rows(kind, folder, "supernet/training.jsonl", "train", named))


def _bundle(folder: Path, summary: Summary) -> BundleFacts | None:
    if summary.chosen is None or summary.chosen.bundle is None:
        return None
    name = f"{summary.chosen.bundle}/manifest.json"
    return _read(BundleFacts, folder, name, "export") if (folder / name).exists() else None


def _evidence(folder: Path, summary: Summary, bundle: BundleFacts | None) -> dict[str, Any]:
    """What looks back on a run, as far as it is of this choice and these weights: stages may be done anew."""
    chosen = summary.chosen.arch if summary.chosen else None
    hindsight, trust = (
        _if_there(Hindsight, folder, HINDSIGHT, "export"),
        _if_there(Trust, folder, TRUST, "study ranking"),
    )
    worth, trained = _if_there(Worth, folder, WORTH, "study baselines"), folder / "supernet/result.json"
    weights = read_json(trained, _again("train", folder)).get("weights") if trained.exists() else None
    return {
        "hindsight": hindsight if hindsight and hindsight.chosen == chosen else None,
        "trust": trust if trust and trust.weights == weights else None,
        "worth": worth if worth and worth.edgenas.network == chosen and _judged(worth, bundle) else None,
    }


def _judged(worth: Worth, bundle: BundleFacts | None) -> bool:
    """Whether the bundled file is the one that was judged: fine-tuning anew makes it another one."""
    bundled = None if bundle is None else bundle.files.get(MODEL)
    return None in (bundled, worth.model_sha256) or bundled == worth.model_sha256


def _need(folder: Path, name: str, stage: str) -> Path:
    path = folder / name
    if not path.is_file():
        raise RunFolderError(f"{folder} holds no {name}: {_again(stage, folder)}")
    return path


def _again(stage: str, folder: Path) -> str:
    """What makes a stage's files anew."""
    result = folder / {"profile": "latency", "train": "supernet"}.get(stage, stage) / "result.json"
    # A stage with a result counts as finished, and is passed over.
    return f"{f'delete {result} and ' if result.exists() else ''}run `edgenas {stage} {folder}`"


def _read(kind: type[T], folder: Path, name: str, stage: str) -> T:
    path = _need(folder, name, stage)
    again = _again(stage, folder)
    return _check(kind, read_json(path, again), str(path), f"delete it and {again}")


def _if_there(kind: type[T], folder: Path, name: str, stage: str) -> T | None:
    return _read(kind, folder, name, stage) if (folder / name).exists() else None


def _rows(kind: type[T], folder: Path, name: str, stage: str, named: str | None = None) -> tuple[T, ...]:
    """Rows of a file; those of one kind only, where they name theirs."""
    path = _need(folder, name, stage)
    rows = enumerate(read_jsonl(path), start=1)
    wanted = [(number, row) for number, row in rows if named is None or row.get("kind") == named]
    return tuple(_check(kind, row, f"{path}, row {number}", "delete that line") for number, row in wanted)


def _last_of_each_step(told: tuple[Told, ...]) -> tuple[Told, ...]:
    """A training that was killed tells its steps since the last checkpoint again; what counts was told last."""
    by_step = {row.step: row for row in told}
    return tuple(by_step[step] for step in sorted(by_step))


def _check(kind: type[T], value: Any, place: str, advice: str) -> T:
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        raise RunFolderError(f"{place}: {explained(error.errors())}: {advice}") from None


def _said(folder: Path, device: str, part: str) -> Mapping[str, Any]:
    """A part of what was written beside a device's table."""
    path = folder / "latency" / device / "meta.json"
    found = read_json(path, _again("profile", folder)).get(part) if path.is_file() else None
    return found if isinstance(found, dict) else {}
