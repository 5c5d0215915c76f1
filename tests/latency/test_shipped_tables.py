"""The tables converted from others' against what their authors published."""

from __future__ import annotations

import csv
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from edgenas.errors import TableError
from edgenas.latency.device import load_device
from edgenas.latency.predictor import LatencyPredictor
from edgenas.latency.predictor_score import score_predictor
from edgenas.latency.table import LatencyTable, find_table, table_names
from edgenas.latency.table_merge import merge_tables
from edgenas.profiling.timing_plan import distinct_blocks
from edgenas.records.latency import UNKNOWN
from edgenas.space.loading import load_space
from edgenas.space.ofa_settings import arch_from_ofa

CONVERTED = ("samsung-note10/unknown", "i7-8700k/unknown")
MEASURED = tuple(name for name in table_names() if name not in CONVERTED)
SPACES = (("ofa-mbv3-w1.0", 1000, 60), ("mobile-32", 10, 40), ("mobile-96", 10, 40))
TABLES = Path(__file__).parent.parent.parent / "latency_tables"
WIDE = load_space("ofa-mbv3-w1.2")
EXAMPLE: dict[str, Any] = {"ks": [3, 5, 7, 3] * 5, "e": [3, 4, 6, 6] * 5, "d": [2, 3, 4, 3, 2], "r": 192}


def plain_sum_ms(table: LatencyTable, settings: dict[str, Any]) -> float:
    measured = table.blocks()
    return (
        sum(measured[block.key].p50_us for block in WIDE.with_classes(1000).unroll(arch_from_ofa(WIDE, settings))) / 1e3
    )


def shapes(settings: dict[str, Any]) -> Iterator[tuple[int, int, int, int, float, int, int, int]]:
    """The published conventions, without any of our code: each block's sizes, channels, ratio, kernel and place."""
    channels, size = 24, (settings["r"] + 1) // 2
    for position in range(20):
        stage = position // 4
        if position % 4 >= settings["d"][stage]:
            continue
        out, stride = (32, 48, 96, 136, 192)[stage], (2, 2, 2, 1, 2)[stage] if position % 4 == 0 else 1
        out_size = (size - 1) // stride + 1
        yield channels, size, out, out_size, settings["e"][position], settings["ks"][position], stride, stage
        channels, size = out, out_size


def published_note10_ms(lines: dict[tuple[str, ...], float], settings: dict[str, Any]) -> float:
    r = settings["r"]
    half = (r + 1) // 2
    keys = [("Conv", f"{r}x{r}x3", f"{half}x{half}x24", *[""] * 6)]
    keys.append(("expanded_conv", f"{half}x{half}x24", f"{half}x{half}x24", "24", "3", "1", "1", "0", "0"))
    size = half
    for channels, size_in, out, size_out, ratio, kernel, stride, stage in shapes(settings):
        ends = (f"{size_in}x{size_in}x{channels}", f"{size_out}x{size_out}x{out}")
        flags = (channels == out and stride == 1, stage in (1, 3, 4), stage > 1)
        rest = (str(round(channels * ratio)), str(kernel), str(stride), *(str(int(flag)) for flag in flags))
        keys.append(("expanded_conv", *ends, *rest))
        size = size_out
    keys.append(("Conv_1", f"{size}x{size}x192", f"{size}x{size}x1152", *[""] * 6))
    keys.append(("AvgPool2D", f"{size}x{size}x1152", "1x1x1152", *[""] * 6))
    keys.append(("Conv_2", "1x1x1152", "1x1x1536", *[""] * 6))
    keys.append(("Logits", "1x1x1536", "1000", *[""] * 6))
    return sum(lines[(str(r), *key)] for key in keys)


def published_i7_ms(lines: dict[tuple[str, ...], float], settings: dict[str, Any]) -> float:
    r = settings["r"]
    half = (r + 1) // 2
    keys = [("first_conv", f"{r}x{r}x3", f"{half}x{half}x24", *[""] * 5)]
    keys.append(("MBConv", f"{half}x{half}x24", f"{half}x{half}x24", "1", "3", "1", "1", "0"))
    size = half
    for channels, size_in, out, size_out, ratio, kernel, stride, stage in shapes(settings):
        ends = (f"{size_in}x{size_in}x{channels}", f"{size_out}x{size_out}x{out}")
        flags = (channels == out and stride == 1, stage in (1, 3, 4))
        keys.append(("MBConv", *ends, str(ratio), str(kernel), str(stride), *(str(int(flag)) for flag in flags)))
        size = size_out
    keys.append(("final_expand_layer", f"{size}x{size}x192", f"{size}x{size}x1152", *[""] * 5))
    keys.append(("feature_mix_layer", "1x1x1152", "1x1x1536", *[""] * 5))
    keys.append(("classifier", "1536", "1000", *[""] * 5))
    return sum(lines[key] for key in keys)


def published(path: Path, *, columns: int) -> dict[tuple[str, ...], float]:
    """Means by all that stands before them in a line."""
    with path.open(encoding="utf-8") as stream:
        return {tuple(line[:columns]): float(line[columns]) for line in list(csv.reader(stream))[1:]}


def some_settings(resolutions: tuple[int, ...], each: int = 8) -> list[dict[str, Any]]:
    rng = random.Random(0)
    return [
        {
            "ks": rng.choices([3, 5, 7], k=20),
            "e": rng.choices([3, 4, 6], k=20),
            "d": rng.choices([2, 3, 4], k=5),
            "r": resolution,
        }
        for resolution in resolutions
        for _ in range(each)
    ]


def test_the_published_example_takes_26_04090_ms_on_the_note10() -> None:
    # Six digits a cell leave an error of hundredths of a microsecond.
    assert plain_sum_ms(find_table("samsung-note10/unknown"), EXAMPLE) == pytest.approx(26.04090, abs=2e-5)


def test_note10_sums_are_the_published_ones(shared_data: Path) -> None:
    lines = published(shared_data / "ofa" / "samsung_note10_w1.2_blocks.csv", columns=10)
    assert published_note10_ms(lines, EXAMPLE) == pytest.approx(26.04090, abs=5e-6)
    table = find_table("samsung-note10/unknown")
    for settings in some_settings((160, 192, 224)):
        assert plain_sum_ms(table, settings) == pytest.approx(published_note10_ms(lines, settings), rel=3e-6)
    # Elsewhere a shape's row may be another resolution's measurement of it.
    for settings in some_settings(tuple(range(160, 228, 4))):
        assert plain_sum_ms(table, settings) == pytest.approx(published_note10_ms(lines, settings), rel=0.005)


def test_i7_sums_are_the_published_ones(shared_data: Path) -> None:
    lines = published(shared_data / "ofa" / "i7_8700k_blocks.csv", columns=8)
    table = find_table("i7-8700k/unknown")
    for settings in some_settings((128, 132, 148, 192, 224)):
        assert plain_sum_ms(table, settings) == pytest.approx(published_i7_ms(lines, settings), rel=3e-6)


@pytest.mark.slow
def test_the_script_makes_what_is_shipped(shared_data: Path, tmp_path: Path) -> None:
    script = [sys.executable, str(TABLES / "convert_ofa.py"), str(shared_data / "ofa"), "--out", str(tmp_path)]
    subprocess.run(script, check=True)
    for name in CONVERTED:
        for file in ("table.csv", "meta.json"):
            assert (tmp_path / name / file).read_bytes() == (TABLES / name / file).read_bytes()


@pytest.mark.parametrize(
    ("name", "preset", "resolutions"),
    [
        ("samsung-note10/unknown", "ofa-mbv3-w1.2", (160, 176, 224)),
        ("i7-8700k/unknown", "ofa-mbv3-w1.0", (128, 180, 224)),
        ("i7-8700k/unknown", "ofa-mbv3-w1.2", (128, 180, 224)),
    ],
)
def test_no_block_of_their_spaces_is_missing(name: str, preset: str, resolutions: tuple[int, ...]) -> None:
    space = load_space(preset).model_copy(update={"resolution": resolutions})
    assert {block.key for block in distinct_blocks(space.with_classes(1000))} <= set(find_table(name).blocks())


@pytest.mark.parametrize("name", CONVERTED)
def test_what_their_sources_do_not_state_is_unknown(name: str) -> None:
    table = find_table(name)
    identity = asdict(table.identity)
    assert identity.pop("device") == load_device(name.partition("/")[0]).name
    assert set(identity.values()) == {UNKNOWN}
    assert {"source", "licence"} <= set(table.circumstances)
    with pytest.raises(TableError, match="unknown never equals"):
        merge_tables([table, table], [name, name])


def test_tables_of_both_precisions_are_measured_on_one_and_two_threads() -> None:
    identities = [find_table(name).identity for name in MEASURED]
    native = {(one.precision, one.threads) for one in identities if one.runtime == "onnxruntime"}
    assert native == {("fp32", 1), ("fp32", 2), ("int8", 1), ("int8", 2)}


@pytest.mark.parametrize("name", MEASURED)
def test_measured_tables_hold_blocks_and_networks_of_every_space(name: str) -> None:
    table = find_table(name)
    device = load_device(name.partition("/")[0])
    asked = {field: getattr(device.run, field) for field in ("runtime", "provider", "optimisation_level", "spinning")}
    assert asdict(table.identity).items() >= asked.items()
    assert UNKNOWN not in asdict(table.identity).values()
    for preset, num_classes, networks in SPACES:
        space = load_space(preset)
        assert len(table.networks(space.structure_id, num_classes)) >= networks
        assert (
            len({block.key for block in distinct_blocks(space.with_classes(num_classes))} & set(table.blocks())) >= 200
        )


@pytest.mark.parametrize(
    ("name", "preset"),
    [
        pytest.param(name, preset, marks=() if (name, preset) == (MEASURED[0], "mobile-32") else pytest.mark.slow)
        for name in MEASURED
        for preset, _, _ in SPACES
    ],
)
def test_measured_tables_predict_networks_they_hold_back(name: str, preset: str) -> None:
    table, space = find_table(name), load_space(preset)
    found = score_predictor(space, table)
    assert found.n_test >= 40
    assert found.mape < 0.06
    assert found.kendall_tau > 0.9
    largest = LatencyPredictor(space).fit(table).predict([space.largest])[0]
    assert largest > max(row.p50_us for row in table.rows if row.space == space.structure_id) / 1.2
