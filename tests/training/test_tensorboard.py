"""Training curves for TensorBoard."""

import sys
from pathlib import Path

import pytest
from halves import CONFIG, STEPS, train

from edgenas.config.reading import parse_config
from edgenas.errors import ConfigError
from edgenas.files import read_jsonl
from edgenas.stages.start import resolve
from edgenas.training.tensorboard import FOLDER, load_tensorboard

WITH_TENSORBOARD = CONFIG.model_copy(update={"tensorboard": True})


def test_without_the_package_the_install_line_is_shown_before_a_run_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    config = {"name": "x", "space": "digits-24", "data": {"name": "digits"}, "train": {"epochs": 1}}
    resolve(parse_config(config, "here"))
    config["train"] = {"epochs": 1, "tensorboard": True}
    with pytest.raises(ConfigError, match=r"pip install 'edgenas\[tensorboard\]'"):
        resolve(parse_config(config, "here"))


def test_curves_have_the_values_of_the_log(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    load_tensorboard()
    train(tmp_path, WITH_TENSORBOARD)
    events = EventAccumulator(str(tmp_path / FOLDER))
    events.Reload()
    rows = read_jsonl(tmp_path / "training.jsonl")
    losses = {row["step"]: pytest.approx(row["loss"]) for row in rows if row["kind"] == "step"}
    assert {point.step: point.value for point in events.Scalars("loss")} == losses
    assert len(losses) == STEPS
    scores = {row["step"]: pytest.approx(row["top1"]["largest"]) for row in rows if row["kind"] == "validation"}
    assert {point.step: point.value for point in events.Scalars("top1/largest")} == scores
