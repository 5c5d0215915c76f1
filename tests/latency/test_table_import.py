from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_tables import IDENTITY
from spaces import SMALL, random_archs, spaces_and_archs

from edgenas.errors import TableError
from edgenas.latency.table import LatencyTable
from edgenas.latency.table_import import import_networks
from edgenas.records.latency import UNKNOWN
from edgenas.space.arch import Arch
from edgenas.space.loading import load_space
from edgenas.space.ofa_settings import arch_from_ofa
from edgenas.space.space import SearchSpace

OFA = load_space("ofa-mbv3-w1.0")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("elsewhere") / "networks.csv"


def write(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])


def ofa_settings(arch: Arch, rng: np.random.Generator) -> dict[str, list[float]]:
    """Once-for-all's settings of an arch; positions past a stage's depth hold anything."""
    settings: dict[str, list[float]] = {"ks": [], "e": [], "d": [], "r": [arch.resolution]}
    for stage in arch.stages[1:]:
        spare = 4 - len(stage.blocks)
        settings["ks"] += [block.kernel for block in stage.blocks] + rng.choice([3, 5, 7], spare).tolist()
        settings["e"] += [block.expand for block in stage.blocks] + rng.choice([3, 4, 6], spare).tolist()
        settings["d"].append(len(stage.blocks))
    return settings


@given(spaces_and_archs(), st.floats(1e-3, 1e6))
def test_archs_survive_in_our_text_form(path: Path, drawn: tuple[SearchSpace, list[Arch]], latency: float) -> None:
    space, archs = drawn
    distinct = list(dict.fromkeys(archs))
    write(path, ["latency_us", "arch"], [[latency + n, arch] for n, arch in enumerate(distinct)])
    table = import_networks(path, space.with_classes(10), IDENTITY)
    rows = table.networks(space.structure_id, 10)
    assert [space.parse(row.key) for row in rows] == distinct
    assert [row.p50_us for row in rows] == pytest.approx([latency + n for n, _ in enumerate(distinct)])


@given(st.integers(0, 2**32), st.sampled_from(["-", ",", ", "]), st.booleans())
def test_both_spellings_name_the_same_networks(path: Path, seed: int, between: str, brackets: bool) -> None:
    archs = list(dict.fromkeys(random_archs(OFA, 5, seed)))
    rng = np.random.default_rng(seed)

    def listed(values: list[float]) -> str:
        text = between.join(map(str, values))
        return f"[{text}]" if brackets else text

    write(path, ["arch", "latency_ms"], [[arch, n + 1] for n, arch in enumerate(archs)])
    ours = import_networks(path, OFA.with_classes(1000), IDENTITY)
    spelt = [[*map(listed, ofa_settings(arch, rng).values()), n + 1] for n, arch in enumerate(archs)]
    write(path, ["ks", "e", "d", "r", "latency_ms"], spelt)
    theirs = import_networks(path, OFA.with_classes(1000), IDENTITY)
    assert [row.to_json() for row in theirs.rows] == [row.to_json() for row in ours.rows]
    assert [row.key for row in ours.rows] == [arch.id for arch in archs]


@pytest.mark.parametrize(
    ("column", "options", "factor"),
    [
        ("latency_us", {}, 1),
        ("latency_ms", {}, 1e3),
        ("latency_s", {}, 1e6),
        ("time_ms", {"latency_column": "time_ms"}, 1e3),
        ("time", {"latency_column": "time", "unit": "s"}, 1e6),
        ("latency_ms", {"unit": "us"}, 1),
    ],
)
def test_units_become_microseconds(path: Path, column: str, options: dict[str, str], factor: float) -> None:
    write(path, ["arch", column, "std", "count", "remark"], [[SMALL.smallest, 2.5, 0.5, 40, "warm"]])
    row = import_networks(path, SMALL.with_classes(10), IDENTITY, statistic="mean", **options).rows[0]
    assert (row.p50_us, row.mean_us, row.std_us, row.count) == (2.5 * factor, 2.5 * factor, 0.5 * factor, 40)


def test_what_is_not_stated_stays_so_through_files(path: Path, tmp_path: Path) -> None:
    write(path, ["arch", "latency_ms"], [[SMALL.smallest, 1], [SMALL.largest, 2]])
    unknown = replace(IDENTITY, threads=UNKNOWN, spinning=UNKNOWN, runtime=UNKNOWN, runtime_version=UNKNOWN)
    table = import_networks(path, SMALL.with_classes(10), unknown)
    table.create(tmp_path / "new")
    read = LatencyTable.load(tmp_path / "new")
    assert read.identity == unknown
    assert read.circumstances == {"source": "networks.csv", "latency_statistic": "unknown"}
    for row in read.rows:
        stated = {name for name, value in row.to_json().items() if value is not None}
        assert stated == {"kind", "space", "num_classes", "key", "p50_us"}
    assert [row.to_json() for row in read.rows] == [row.to_json() for row in table.rows]


def test_a_table_of_our_timer_has_no_empty_cells(path: Path, tmp_path: Path) -> None:
    write(path, ["arch", "latency_ms"], [[SMALL.smallest, 1]])
    table = import_networks(path, SMALL.with_classes(10), IDENTITY)
    replace(table, circumstances={}).save(tmp_path)
    with pytest.raises(TableError, match="line 2: p95_us: expected a number, got ''"):
        LatencyTable.load(tmp_path)


def test_a_network_on_several_lines_gets_their_median(path: Path) -> None:
    lines = [[SMALL.smallest, 1.0, 10], [SMALL.largest, 5.0, 10], [SMALL.smallest, 1.1, 20], [SMALL.smallest, 9.0, 5]]
    write(path, ["arch", "latency_ms", "count"], lines)
    table = import_networks(path, SMALL.with_classes(10), IDENTITY)
    assert [(row.key, row.p50_us, row.count) for row in table.rows] == [
        (SMALL.smallest.id, pytest.approx(1100), 35),
        (SMALL.largest.id, 5000, 10),
    ]
    assert table.circumstances["repeated_networks"] == 1
    assert table.circumstances["repeated_difference"] == pytest.approx(8 / 1.1)


def test_the_published_settings_are_read(path: Path, shared_data: Path) -> None:
    source = shared_data / "ofa" / "imagenet_top1_w1.0.csv"
    with source.open(encoding="utf-8") as stream:
        lines = list(csv.DictReader(stream))
    # Their accuracies stand for latencies here: what counts is which network each line names.
    table = import_networks(source, OFA.with_classes(1000), IDENTITY, latency_column="top1_mean", unit="ms")
    found = {row.key: row.p50_us for row in table.rows}
    for line in lines[:50]:
        numbers = {key: list(map(int, line[key].split("-"))) for key in ("ks", "e", "d", "r")}
        assert arch_from_ofa(OFA, numbers).id in found
    repeated = table.circumstances["repeated_networks"]
    assert len(lines) - len(found) >= repeated > 0
