"""The graph variant: which is chosen, and that it is measured once."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
from small_run import SmallRun

from edgenas.deploy.onnx.exporter import model_metadata
from edgenas.errors import ConfigError, RunFolderError, TableError
from edgenas.files import read_json, write_json
from edgenas.latency.device import dump_device, load_device
from edgenas.latency.table import LatencyTable
from edgenas.records.paths import GRAPH_VARIANT
from edgenas.runs.run import Run, open_run
from edgenas.space.graph_variant import GRAPH_VARIANTS
from edgenas.stages.budgets.limits import run_limits
from edgenas.stages.devices.fastest_variant import (
    VARIANT_NETWORKS,
    VariantComparison,
    choose_variant,
    fastest_variant,
    variant_record,
)


def ratios(pooled: list[float], blocked: list[float]) -> dict[str, list[float]]:
    return {"direct": [1.0] * len(pooled), "pooled": pooled, "blocked": blocked}


def test_the_variant_of_the_lowest_median_is_chosen_and_a_percent_is_needed() -> None:
    assert fastest_variant([ratios([0.97, 0.98, 0.5], [0.90, 0.95, 1.20])]) == "blocked"
    assert fastest_variant([ratios([0.97, 0.98, 0.99], [0.99, 1.01, 1.02])]) == "pooled"
    assert fastest_variant([ratios([0.995, 0.992, 1.0], [1.1, 1.2, 1.0])]) == "direct"


def test_devices_weigh_alike() -> None:
    gains, loses = ratios([1.0], [0.5]), ratios([1.0], [1.9])
    assert fastest_variant([gains]) == fastest_variant([gains, gains, loses]) == "blocked"
    assert fastest_variant([gains, ratios([1.0], [2.1])]) == "direct"


def test_a_run_measures_all_variants_on_its_networks_and_exports_in_the_fastest(small_run: SmallRun) -> None:
    record = read_json(small_run.folder / "latency" / "graph_variant.json")
    (by_variant,) = record["latency_ratio"].values()
    assert {name: len(values) for name, values in by_variant.items()} == dict.fromkeys(GRAPH_VARIANTS, VARIANT_NETWORKS)
    assert record["graph_variant"] == fastest_variant([by_variant])
    table = LatencyTable.load(small_run.folder / "latency" / "here")
    manifest = read_json(small_run.folder / "export" / "bundle" / "manifest.json")
    assert (
        table.identity.graph_variant
        == record["graph_variant"]
        == manifest["graph_variant"]
        == open_run(small_run.folder).graph_variant
    )
    files = [*(small_run.folder / "verify" / "models").glob("*.onnx"), small_run.folder / "export/bundle/model.onnx"]
    assert len(files) >= 2
    assert {model_metadata(path)["graph_variant"] for path in files} == {record["graph_variant"]}


@pytest.fixture
def copy(small_run: SmallRun, tmp_path: Path) -> Run:
    shutil.copytree(small_run.folder, tmp_path / "copy")
    return open_run(tmp_path / "copy")


def test_measured_variants_are_not_measured_again(copy: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VariantComparison, "ratios", None)
    path = copy.folder / GRAPH_VARIANT
    for name in GRAPH_VARIANTS:
        write_json(path, read_json(path) | {"graph_variant": name})
        assert choose_variant(copy, lambda *_: None) == name


def test_a_variant_that_the_config_names_is_not_measured(copy: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VariantComparison, "ratios", None)
    (copy.folder / GRAPH_VARIANT).unlink()
    export = copy.config.export.model_copy(update={"graph_variant": "pooled"})
    run = dataclasses.replace(copy, config=copy.config.model_copy(update={"export": export}))
    assert choose_variant(run, lambda *_: None) == "pooled"
    assert variant_record(run.folder) is None


def lacking(run: Run, *operators: str) -> Run:
    """Return the run, opened again on a device that lacks these operators."""
    (path,) = (run.folder / "devices").glob("*.yaml")
    path.write_text(dump_device(load_device(path).model_copy(update={"unsupported": operators})))
    return dataclasses.replace(run)


def test_variants_that_need_what_a_device_lacks_are_left_out(copy: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[str, ...]] = []

    def ratios(comparison: VariantComparison, *_: object) -> dict[str, dict[str, tuple[float, ...]]]:
        compared.append(tuple(comparison.variants))
        return {"here": {variant: (1.0 - 0.1 * number,) for number, variant in enumerate(comparison.variants)}}

    monkeypatch.setattr(VariantComparison, "ratios", ratios)
    for operator, variants in (("Resize", ("direct", "pooled")), ("ReduceMean", ("pooled", "blocked"))):
        (copy.folder / GRAPH_VARIANT).unlink()
        assert choose_variant(lacking(copy, operator), lambda *_: None) == variants[-1]
        assert compared[-1] == variants
    (copy.folder / GRAPH_VARIANT).unlink()
    assert choose_variant(lacking(copy, "GlobalAveragePool"), lambda *_: None) == "direct"
    assert len(compared) == 2


def test_a_named_variant_that_needs_what_a_device_lacks_is_refused(copy: Run) -> None:
    export = copy.config.export.model_copy(update={"graph_variant": "blocked"})
    run = dataclasses.replace(copy, config=copy.config.model_copy(update={"export": export}))
    with pytest.raises(ConfigError, match="blocked needs GlobalAveragePool, Resize, which a device lacks"):
        choose_variant(lacking(run, "Resize"), lambda *_: None)


def test_an_unknown_variant_is_refused_with_the_valid_ones(copy: Run) -> None:
    write_json(copy.folder / GRAPH_VARIANT, {"graph_variant": "fancy", "latency_ratio": {}})
    expected = r"graph_variant: 'fancy' is unknown; valid: blocked, direct, pooled: delete it"
    with pytest.raises(RunFolderError, match=expected):
        choose_variant(copy, lambda *_: None)


@pytest.mark.parametrize(("key", "other"), [("graph_variant", "direct|pooled"), ("exporter_version", "999")])
def test_a_table_of_another_variant_or_exporter_is_refused(copy: Run, key: str, other: str) -> None:
    path = copy.folder / "latency" / "here" / "meta.json"
    meta = read_json(path)
    meta["identity"][key] = next(value for value in other.split("|") if value != meta["identity"][key])
    write_json(path, meta)
    with pytest.raises(TableError, match=f"of another setting .*{key}: expected"):
        run_limits(copy)
