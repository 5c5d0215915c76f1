"""Choices that a device does not support are taken out of the space before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_run import SMALL_CONFIG, SMALL_SPACE

from edgenas.config.reading import load_config
from edgenas.config.run_config import RunConfig
from edgenas.errors import SpaceError
from edgenas.files import write_text
from edgenas.latency.device import dump_device, probe
from edgenas.runs.run import open_run
from edgenas.stages.plan import plan_run
from edgenas.stages.start import start_run


def config_for(folder: Path, *unsupported: str) -> RunConfig:
    write_text(folder / "odd.yaml", dump_device(probe("odd").model_copy(update={"unsupported": unsupported})))
    (folder / "tiny-16.yaml").write_text(SMALL_SPACE)
    (folder / "small.yaml").write_text(SMALL_CONFIG)
    return load_config(folder / "small.yaml", [f"space={folder / 'tiny-16.yaml'}", f"devices=[{folder / 'odd.yaml'}]"])


def test_a_run_begins_in_the_narrowed_space_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = config_for(tmp_path, "HardSwish", "kernel 5", "squeeze-excite")
    run = start_run(config, tmp_path / "run")
    for space in (run.space, open_run(tmp_path / "run").space):
        assert {kernel for stage in space.stages for kernel in stage.kernel} == {3}
        assert not any(stage.squeeze_excite for stage in space.stages)
        assert "hardswish" not in space.model_dump_json()
    assert "note: space tiny-16: kernel 5: taken out of" in caplog.text
    # Begun before: the folder has the narrowed space, and the note is not repeated.
    caplog.clear()
    assert start_run(config, tmp_path / "run").space == run.space
    assert not caplog.text
    assert plan_run(config, tmp_path / "run")


def test_a_device_without_what_every_network_needs_is_refused(tmp_path: Path) -> None:
    config = config_for(tmp_path, "Conv")
    with pytest.raises(SpaceError, match="does without Conv"):
        start_run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
