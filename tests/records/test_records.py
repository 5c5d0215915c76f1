"""Records: every format is read back as it was written, and damaged files are refused with the file and the remedy."""

import json
from pathlib import Path
from typing import Any

import pytest

from edgenas.budget import Budget, BudgetText
from edgenas.errors import RunFolderError, UserError
from edgenas.quantities import MACS, P95
from edgenas.records.export import JudgedLatency
from edgenas.records.folder import SessionRow, StageCostRow
from edgenas.records.ledger import Ledger
from edgenas.records.record import ArchText, Record
from edgenas.records.search import EvaluationRow
from edgenas.records.train import StepRow, ValidationRow
from edgenas.records.verify import Int8File
from edgenas.space.loading import load_space

SPACE = load_space("digits-24")


class Example(Record):
    arch: ArchText
    budgets: tuple[BudgetText, ...]
    shares: dict[ArchText, float]


def example() -> Example:
    budgets = Budget(P95, 1 / 3, "pi4"), Budget(MACS, 1e7)
    return Example(arch=SPACE.largest, budgets=budgets, shares={SPACE.smallest: 0.25})


def evaluation(error: float = 0.125) -> EvaluationRow:
    return EvaluationRow(arch=SPACE.smallest, error=error, latency_us={"pi4": 200.5}, weights="w", seconds=0.5)


def test_values_are_read_back_exactly(tmp_path: Path) -> None:
    example().write(tmp_path / "example.json")
    assert Example.read(tmp_path / "example.json", "run it again", SPACE) == example()


def test_the_file_states_texts_units_and_schema(tmp_path: Path) -> None:
    example().write(tmp_path / "example.json")
    stated = json.loads((tmp_path / "example.json").read_text())
    assert stated["schema_version"] == 1
    assert stated["arch"] == SPACE.largest.id
    assert stated["budgets"][1] == "macs=10000000"


def test_an_architecture_of_another_space_is_refused_where_the_space_is_given() -> None:
    other = load_space("mobile-96").smallest
    value = example().to_json() | {"arch": other.id}
    assert Example.parse(value, "example.json", "run it again").arch == other
    with pytest.raises(RunFolderError, match=r"example\.json: arch: .*: run it again"):
        Example.parse(value, "example.json", "run it again", SPACE)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arch": 3}, "arch: expected an architecture's text, got 3"),
        ({"arch": "r24"}, "arch: "),
        ({"budgets": ["-1ms"]}, "budgets.0: budget '-1ms': expected a finite limit above zero"),
        ({"budgets": [{"quantity": "p50"}]}, "budgets.0: expected a text like 8ms"),
        ({"shares": {"r24": 1.0}}, "shares.r24"),
        ({"shares": {SPACE.smallest.id: "1"}}, "shares."),
    ],
)
def test_a_wrong_value_is_named_with_its_place(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RunFolderError) as refusal:
        Example.parse(example().to_json() | changes, "example.json", "run it again", SPACE)
    assert str(refusal.value).startswith(f"example.json: {message}")


@pytest.mark.parametrize("key", ["arch", "budgets", "shares"])
def test_a_missing_value_is_an_error(key: str) -> None:
    value = {name: entry for name, entry in example().to_json().items() if name != key}
    with pytest.raises(RunFolderError, match=f"{key} is missing"):
        Example.parse(value, "example.json", "run it again")


def test_unknown_keys_are_ignored() -> None:
    assert Example.parse(example().to_json() | {"colour": "red"}, "example.json", "run it again") == example()


def test_records_are_frozen_and_take_no_texts_for_numbers() -> None:
    with pytest.raises(ValueError, match="frozen"):
        example().arch = SPACE.smallest  # type: ignore[misc]
    with pytest.raises(ValueError, match="valid number"):
        StageCostRow(stage="train", seconds="1", energy_joules=None, finished=True)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema_version": 2}', '{"schema_version": 1, "arch": NaN}'])
def test_a_file_that_is_no_json_of_this_schema_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "example.json").write_text(text)
    with pytest.raises(UserError, match=r"example\.json"):
        Example.read(tmp_path / "example.json", "run it again")


def test_a_verdict_without_its_limit_is_refused() -> None:
    none = dict.fromkeys(("limited", "limit_us", "value_us", "upper_us"))
    with pytest.raises(RunFolderError, match="verdict is stated without"):
        JudgedLatency.parse({"verdict": "over", **none, "sessions": 1, "repeated": False}, "result.json", "again")


def test_an_int8_recipe_that_was_not_tried_is_refused() -> None:
    value = {"model": "verify/models/000.onnx", "quantiser_recipe": "b", "recipes_tried": {"a": 0.5}, "fp32_top1": 0.5}
    with pytest.raises(RunFolderError, match="quantiser_recipe is b"):
        Int8File.parse(value, "int8.jsonl, row 1", "delete that line")
    with pytest.raises(RunFolderError, match="model"):
        Int8File.parse(value | {"quantiser_recipe": "a", "model": "../secret.onnx"}, "int8.jsonl", "delete that line")


def test_a_ledger_keeps_rows_in_order_and_the_last_of_each_key(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "search" / "evaluations.jsonl", EvaluationRow, SPACE)
    assert ledger.rows() == ()
    ledger.append(evaluation(0.5), evaluation(0.25))
    ledger.append(evaluation(0.125))
    assert [row.error for row in ledger.rows()] == [0.5, 0.25, 0.125]
    assert ledger.last(lambda row: row.arch) == {SPACE.smallest: evaluation(0.125)}


def test_a_torn_line_is_skipped_and_the_next_row_stands_alone(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "evaluations.jsonl", EvaluationRow, SPACE)
    ledger.append(evaluation(0.5))
    with open(ledger.path, "a") as stream:
        stream.write('{"arch": "r')
    ledger.append(evaluation(0.25))
    assert [row.error for row in ledger.rows()] == [0.5, 0.25]


def test_a_damaged_row_is_named_with_its_remedy(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "sessions.jsonl", SessionRow)
    ledger.append(SessionRow(device="pi4", files="f", sentinel_p50_us=1.0, state="kept", repeated=False))
    with open(ledger.path, "a") as stream:
        stream.write('{"device": "pi4", "files": "f", "sentinel_p50_us": 0, "state": "lost", "repeated": false}\n')
    with pytest.raises(RunFolderError, match=r"sessions\.jsonl, row 2: sentinel_p50_us.*: delete that line"):
        ledger.rows()


def test_rows_of_several_kinds_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "training.jsonl"
    steps, validations = Ledger(path, StepRow), Ledger(path, ValidationRow)
    step = StepRow(step=0, epoch=0.0, loss=2.5, learning_rate=1e-3, images_per_second=100.0, seconds=0.5)
    validation = ValidationRow(step=0, epoch=1.0, top1={"largest": 0.5})
    steps.append(step)
    validations.append(validation)
    assert (steps.rows(), validations.rows()) == ((step,), (validation,))


def test_a_ledger_is_replaced_as_a_whole(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "evaluations.jsonl", EvaluationRow, SPACE)
    ledger.append(evaluation(0.5))
    ledger.write([evaluation(0.25)])
    assert [row.error for row in ledger.rows()] == [0.25]
