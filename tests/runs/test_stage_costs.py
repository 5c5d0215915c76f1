"""The cost of stages: seconds, and energy from counters that begin again at zero."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from small_run import SmallRun

from edgenas.errors import RunFolderError
from edgenas.files import read_jsonl
from edgenas.records.paths import COSTS
from edgenas.runs import stage_costs as metering
from edgenas.runs.stage_costs import EnergyMeter, energy_counters, metered, spent

MOST = 999_999
"""Microjoules after which the made-up counters begin again."""


def write_counter(root: Path, zone: str, name: str, microjoules: int) -> Path:
    folder = root / zone
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "max_energy_range_uj").write_text(f"{MOST}\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    return folder / "energy_uj"


@pytest.fixture
def powercap(tmp_path: Path) -> dict[str, Path]:
    """Two processors, one with cores and memory counted apart, and the whole board."""
    zones = {
        "intel-rapl:0": "package-0",
        "intel-rapl:0:0": "core",
        "intel-rapl:0:1": "dram",
        "intel-rapl:1": "package-1",
        "intel-rapl:2": "psys",
    }
    return {name: write_counter(tmp_path, zone, name, 900_000) for zone, name in zones.items()}


def test_packages_and_memory_are_counted_once_across_their_end(powercap: dict[str, Path], tmp_path: Path) -> None:
    meter = EnergyMeter(energy_counters(tmp_path))
    powercap["package-0"].write_text("100000\n")
    powercap["package-1"].write_text("950000\n")
    for name in ("core", "psys"):
        powercap[name].write_text("999999\n")
    assert meter.stop() == pytest.approx(0.2 + 0.05)


def test_a_counter_that_goes_round_twice_is_looked_at_often_enough(powercap: dict[str, Path], tmp_path: Path) -> None:
    meter = EnergyMeter(energy_counters(tmp_path), seconds=0.01)
    counter = next(counter for counter in meter.counters if counter.path == powercap["package-0"])
    for microjoules in (400_000, 900_000, 400_000, 900_000):
        # As the kernel has it: never empty.
        (tmp_path / "next").write_text(f"{microjoules}\n")
        (tmp_path / "next").replace(powercap["package-0"])
        end = time.monotonic() + 10
        while counter.last != microjoules and time.monotonic() < end:
            time.sleep(0.005)
    assert meter.stop() == pytest.approx(2.0)


def test_unreadable_energy_is_not_reported(powercap: dict[str, Path], tmp_path: Path) -> None:
    meter = EnergyMeter(energy_counters(tmp_path))
    powercap["dram"].unlink()
    assert meter.stop() is None
    assert energy_counters(tmp_path) == []
    assert energy_counters(tmp_path / "nowhere") == []
    assert EnergyMeter([]).stop() is None


def test_costs_of_finished_and_interrupted_stages_are_kept_and_of_failed_ones_not(
    powercap: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metering, "energy_counters", lambda: energy_counters(tmp_path))
    run = tmp_path / "run"
    with metered(run, "train"):
        powercap["dram"].write_text("950000\n")
    with pytest.raises(KeyboardInterrupt), metered(run, "train"):
        raise KeyboardInterrupt
    with pytest.raises(ValueError, match="no"), metered(run, "train"):
        raise ValueError("no")
    monkeypatch.setattr(metering, "energy_counters", list)
    with metered(run, "search"):
        pass
    assert [row["stage"] for row in read_jsonl(run / COSTS)] == ["train", "train", "search"]
    costs = spent(run)
    assert costs["train"].energy_joules == pytest.approx(0.05)
    assert costs["search"].energy_joules is None
    assert spent(tmp_path) == {}


def test_a_row_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / COSTS).write_text('{"stage": "train", "seconds": -1, "energy_joules": null}\n')
    with pytest.raises(RunFolderError, match=r"costs\.jsonl, row 1: seconds"):
        spent(tmp_path)


def test_a_run_keeps_the_costs_of_its_stages_and_its_bundle_reports_them(small_run: SmallRun) -> None:
    rows = read_jsonl(small_run.folder / COSTS)
    assert [row["stage"] for row in rows] == ["profile", "train", "search", "verify", "export"]
    assert all(row["seconds"] > 0 for row in rows)
    manifest = json.loads((small_run.folder / "export" / "bundle" / "manifest.json").read_text())
    assert list(manifest["found"]["spent"]) == ["profile", "train", "search", "verify"]
    assert manifest["found"]["spent"]["train"]["seconds"] >= manifest["found"]["train_seconds"]
    card = (small_run.folder / "export" / "bundle" / "MODEL_CARD.md").read_text()
    readable = rows[0]["energy_joules"] is not None
    assert ("Wh until the export" in card) == readable
    assert ("Energy was not readable" in card) != readable


def test_a_run_reports_the_memory_that_its_networks_were_measured_to_take(small_run: SmallRun) -> None:
    for entry in small_run.summary["front"]:
        latency = entry["latency"]["here"]
        assert 0 <= latency["model_rss_bytes"] < latency["process_rss_bytes"]
    manifest = json.loads((small_run.folder / "export" / "bundle" / "manifest.json").read_text())
    assert manifest["latency"]["here"]["process_rss_bytes"] > manifest["size_bytes"]
    card = (small_run.folder / "export" / "bundle" / "MODEL_CARD.md").read_text()
    assert f"of {manifest['latency']['here']['process_rss_bytes'] / 1e6:.0f} MB" in card
