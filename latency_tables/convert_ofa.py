"""Converts block latencies that others measured on the once-for-all space into tables of ours.

    python latency_tables/convert_ofa.py FOLDER [--out latency_tables]

FOLDER holds samsung_note10_w1.2_blocks.csv and i7_8700k_blocks.csv; README.md says whose they are. What was
converted before is written over. Conventions:

- A row's key is that of the BlockSpec at the same place of our preset of the same width. The head is one block of
  ours and several operators of theirs: means are added, variances too, the count is the smallest.
- The sources give means, which stand under p50_us and mean_us. What they do not state is empty or `unknown`.
- Note10: a shape that occurs at several resolutions was measured once for each, and the row of the greatest
  resolution is kept (they differ by 0.4 % in the median, 2.1 % at most). So sums of blocks are the source's own at
  160, 192 and 224, the multiples of 32, and very close to it elsewhere.
- i7-8700K: of its resolutions 96 to 256 those of our presets, 128 to 224. It has no row of the average pool.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgenas.latency.table import STATISTIC, LatencyTable
from edgenas.profiling.timing_plan import distinct_blocks
from edgenas.records.latency import BLOCK, NOT_STATED, UNKNOWN, Identity, LatencyRow
from edgenas.space.blocks.head import HeadSpec
from edgenas.space.blocks.inverted_residual import InvertedResidualSpec
from edgenas.space.blocks.spec import BlockSpec
from edgenas.space.blocks.stem import StemSpec
from edgenas.space.loading import load_space

IMAGENET_CLASSES = 1000
SourceKey = tuple[str, ...]


@dataclass(frozen=True)
class Timed:
    """Milliseconds of one operator; `count` is 0 where it is not stated."""

    mean_ms: float
    variance_ms2: float
    count: int


def note10_rows(path: Path) -> dict[SourceKey, Timed]:
    """Rows of the Note10 by network resolution, operator, input, output and, for blocks, what else tells them apart."""
    return {
        (line["network_resolution"], *_told(line, "expand_channels", "skip", "se", "hswish")): Timed(
            float(line["mean_ms"]), float(line["std_ms"]) ** 2, int(line["count"])
        )
        for line in _lines(path)
    }


def i7_rows(path: Path) -> dict[SourceKey, Timed]:
    """Rows of the i7-8700K by operator, input, output and, for blocks, what else tells them apart."""
    return {
        _told(line, "expand_ratio", "skip", "se"): Timed(float(line["mean_ms"]), float(line["var_ms2"]), 0)
        for line in _lines(path)
    }


def _lines(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        yield from csv.DictReader(stream)


def _told(line: Mapping[str, str], expand: str, *flags: str) -> SourceKey:
    columns = ("op", "input_hwc", "output_hwc", expand, "kernel", "stride", *flags)
    return tuple(line[column] for column in columns)


def note10_keys(block: BlockSpec, resolution: int) -> list[SourceKey]:
    """The source's operators of one of our blocks in a network of a resolution."""
    rest = ("",) * 6
    shapes = (_hwc(block.in_size, block.in_channels), _hwc(block.out_size, block.out_channels))
    if isinstance(block, InvertedResidualSpec):
        flags = (block.residual, block.se_channels > 0, block.activation == "hardswish")
        sizes = (str(block.mid_channels), str(block.kernel), str(block.stride))
        keys = [("expanded_conv", *shapes, *sizes, *(str(int(flag)) for flag in flags))]
    elif isinstance(block, StemSpec):
        keys = [("Conv", *shapes, *rest)]
    else:
        assert isinstance(block, HeadSpec)
        wide = _hwc(block.in_size, block.width)
        vector, features = _hwc(1, block.width), _hwc(1, block.features)
        keys = [
            ("Conv_1", shapes[0], wide, *rest),
            ("AvgPool2D", wide, vector, *rest),
            ("Conv_2", vector, features, *rest),
            ("Logits", features, str(block.out_channels), *rest),
        ]
    return [(str(resolution), *key) for key in keys]


def i7_keys(block: BlockSpec, resolution: int) -> list[SourceKey]:
    """The source's operators of one of our blocks; it does not tell network resolutions apart."""
    rest = ("",) * 5
    shapes = (_hwc(block.in_size, block.in_channels), _hwc(block.out_size, block.out_channels))
    if isinstance(block, InvertedResidualSpec):
        sizes = (f"{block.mid_channels / block.in_channels:g}", str(block.kernel), str(block.stride))
        return [("MBConv", *shapes, *sizes, str(int(block.residual)), str(int(block.se_channels > 0)))]
    if isinstance(block, StemSpec):
        return [("first_conv", *shapes, *rest)]
    assert isinstance(block, HeadSpec)
    wide, features = _hwc(block.in_size, block.width), _hwc(1, block.features)
    return [
        ("final_expand_layer", shapes[0], wide, *rest),
        ("feature_mix_layer", _hwc(1, block.width), features, *rest),
        ("classifier", str(block.features), str(block.out_channels), *rest),
    ]


def _hwc(size: int, channels: int) -> str:
    return f"{size}x{size}x{channels}"


def to_rows(
    source: Mapping[SourceKey, Timed], presets: tuple[str, ...], keys: Callable[[BlockSpec, int], list[SourceKey]]
) -> tuple[LatencyRow, ...]:
    """Rows of every block of the presets that the source has, at all their resolutions; the greatest one's stand."""
    rows: dict[str, LatencyRow] = {}
    for preset in presets:
        space = load_space(preset).with_classes(IMAGENET_CLASSES)
        for resolution in space.resolution:
            for block in distinct_blocks(space.model_copy(update={"resolution": (resolution,)})):
                wanted = keys(block, resolution)
                if all(key in source for key in wanted):
                    rows[block.key] = _row(block.key, [source[key] for key in wanted])
    return tuple(rows.values())


def _row(key: str, parts: list[Timed]) -> LatencyRow:
    mean_us = 1e3 * sum(part.mean_ms for part in parts)
    return LatencyRow(
        kind=BLOCK,
        space="",
        num_classes=0,
        key=key,
        p50_us=mean_us,
        p95_us=NOT_STATED,
        mean_us=mean_us,
        std_us=1e3 * math.sqrt(sum(part.variance_ms2 for part in parts)),
        ci_low_us=NOT_STATED,
        ci_high_us=NOT_STATED,
        count=min(part.count for part in parts),
        rounds=0,
        repeat_noise=NOT_STATED,
    )


def unknown_identity(device: str) -> Identity:
    """Nothing but the device is stated."""
    return Identity(
        device=device,
        runtime=UNKNOWN,
        runtime_version=UNKNOWN,
        provider=UNKNOWN,
        precision=UNKNOWN,
        threads=UNKNOWN,
        optimisation_level=UNKNOWN,
        spinning=UNKNOWN,
        exporter_version=UNKNOWN,
        quantiser_recipe=UNKNOWN,
        graph_variant=UNKNOWN,
    )


def convert(folder: Path) -> list[LatencyTable]:
    """Both tables, from the folder of the sources' CSV files."""
    note10 = to_rows(note10_rows(folder / "samsung_note10_w1.2_blocks.csv"), ("ofa-mbv3-w1.2",), note10_keys)
    i7 = to_rows(i7_rows(folder / "i7_8700k_blocks.csv"), ("ofa-mbv3-w1.0", "ofa-mbv3-w1.2"), i7_keys)
    origins = {
        "samsung-note10": {
            "source": "mit-han-lab/once-for-all at 85f51e4, tutorial/checkpoints/latency_table@note10",
            "licence": "MIT, see latency_tables/samsung-note10/LICENSE",
        },
        "i7-8700k": {
            "source": "mikelzc1990/nsganetv2 at 04c495a, data/i7-8700K_lut.yaml",
            "licence": "Apache-2.0",
        },
    }
    return [
        LatencyTable(
            unknown_identity(device),
            {
                **origins[device],
                "changes": "converted by latency_tables/convert_ofa.py",
                STATISTIC: "mean",
            },
            rows,
        )
        for device, rows in (("samsung-note10", note10), ("i7-8700k", i7))
    ]


def main() -> None:
    """Convert and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="holds the sources' CSV files")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="default: beside this script")
    given = parser.parse_args()
    for table in convert(given.folder):
        folder = given.out / table.identity.device / table.identity.setting
        table.save(folder)
        print(f"{folder}: {len(table.rows)} rows")


if __name__ == "__main__":
    main()
