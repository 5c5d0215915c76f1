"""Reads a run folder's files, and says which stage to run where one is missing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from edgenas.errors import RunFolderError
from edgenas.files import read_json, read_jsonl, read_yaml
from edgenas.report.values import Dataset, Evaluation, Run, Score, SearchFacts, Step, Summary, Validation

T = TypeVar("T")


def load_run(folder: Path) -> Run:
    """Read a run folder whose stages are done.

    Raises:
        RunFolderError: a stage's file is missing or does not have the form it should; the command that makes it
            is named.
    """
    if not folder.is_dir():
        raise RunFolderError(f"run folder {folder} does not exist: `edgenas run CONFIG.yaml` makes one")
    rows = _rows(folder, "supernet/training.jsonl", "train")
    summary = _read(Summary, folder, "summary.json", "export")
    devices = sorted(summary.predictors)
    if not devices:
        raise RunFolderError(f"{folder / 'summary.json'} names no device: `edgenas profile {folder}` measures one")
    return Run(
        folder=folder,
        config=read_yaml(_need(folder, "config.yaml", "train")),
        dataset=_read(Dataset, folder, "data.json", "train"),
        steps=_of_kind(Step, rows, "step", folder),
        validations=_of_kind(Validation, rows, "validation", folder),
        scores={d: _read(Score, folder, f"latency/{d}/score.json", "profile") for d in devices},
        circumstances={d: found for d in devices if (found := _circumstances(folder, d))},
        evaluations=_check(
            tuple[Evaluation, ...],
            _rows(folder, "search/evaluations.jsonl", "search"),
            folder / "search/evaluations.jsonl",
            "search",
        ),
        search=_read(SearchFacts, folder, "search/result.json", "search"),
        summary=summary,
    )


def _need(folder: Path, name: str, stage: str) -> Path:
    path = folder / name
    if not path.is_file():
        raise RunFolderError(
            f"{folder} holds no {name}: the stage `{stage}` has not finished; run `edgenas {stage} {folder}` first"
        )
    return path


def _read(kind: type[T], folder: Path, name: str, stage: str) -> T:
    path = _need(folder, name, stage)
    return _check(kind, read_json(path), path, stage)


def _rows(folder: Path, name: str, stage: str) -> list[dict[str, Any]]:
    return read_jsonl(_need(folder, name, stage))


def _of_kind(kind: type[T], rows: list[dict[str, Any]], name: str, folder: Path) -> tuple[T, ...]:
    path = folder / "supernet/training.jsonl"
    return tuple(_check(kind, row, path, "train") for row in rows if row.get("kind") == name)


def _check(kind: type[T], value: Any, path: Path, stage: str) -> T:
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "its content"
        raise RunFolderError(
            f"{path}: {place}: {first['msg']}, got {first['input']!r}; `edgenas {stage}` writes it anew"
        ) from None


def _circumstances(folder: Path, device: str) -> Mapping[str, Any]:
    path = folder / "latency" / device / "meta.json"
    found = read_json(path).get("circumstances") if path.is_file() else None
    return found if isinstance(found, dict) else {}
