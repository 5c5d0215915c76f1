"""Warnings about a table, from the timer, the circumstances, single rows, and comparisons between rows."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgenas.errors import SpaceError, TableError
from edgenas.latency.block_cost import block_features
from edgenas.latency.plausibility import block_outliers, outliers, slower_than_larger
from edgenas.latency.table import STATISTIC, LatencyTable
from edgenas.latency.table_merge import sessions
from edgenas.records.latency import NETWORK, UNKNOWN, LatencyRow
from edgenas.space.arch import Arch, parse_arch
from edgenas.space.blocks import parse_block
from edgenas.space.blocks.head import HeadSpec
from edgenas.space.blocks.spec import BlockSpec
from edgenas.space.cost import cost
from edgenas.space.space import SearchSpace

MANY = 0.1
"""Share of rows above which a warning about rows is serious."""
WIDE, NOISY = 0.1, 0.05
FEW_ROUNDS, FEW_RUNS = 8, 50
DRIFT, LOAD = (0.05, 0.15), (0.1, 0.5)
"""Limits above which there is a warning, and above which it is serious."""
TWICE = 2.0


@dataclass(frozen=True)
class Warning:
    """A reason not to rely on a table.

    Attributes:
        about: machine-readable name of the warning, for example `interval`.
        serious: whether predictions from the table are likely to be wrong.
        text: message for the user.
        rows: keys of the affected rows or of missing blocks, the worst first.
    """

    about: str
    serious: bool
    text: str
    rows: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {**asdict(self), "rows": list(self.rows)}


def check_table(
    table: LatencyTable, space: SearchSpace | None = None, blocks: Sequence[BlockSpec] = ()
) -> tuple[Warning, ...]:
    """Return the warnings about a table, serious ones first.

    Args:
        table: latency table.
        space: space whose networks in the table are compared with each other.
        blocks: blocks of the space, which the table should have.
    """
    warnings = [
        *_of_source(table),
        *_of_circumstances(table.circumstances),
        *_of_rows(table.rows),
        *_of_keys(table.rows),
        *_of_blocks(table.rows),
        *(_of_networks(table, space) if space else ()),
        *(_missing(table, blocks) if blocks else ()),
    ]
    return tuple(sorted(warnings, key=lambda warning: not warning.serious))


def _of_source(table: LatencyTable) -> Iterator[Warning]:
    unknown = [name for name, value in asdict(table.identity).items() if value == UNKNOWN]
    if unknown:
        yield Warning("identity", False, f"unknown: {', '.join(unknown)}; such tables cannot be merged")
    unstated = sorted({name for row in table.rows for name, value in row.to_json().items() if value is None})
    if unstated:
        statistic = table.circumstances.get(STATISTIC, UNKNOWN)
        yield Warning("unstated", False, f"p50_us is: {statistic}; not in the source: {', '.join(unstated)}")


def _of_circumstances(circumstances: Mapping[str, Any]) -> Iterator[Warning]:
    recorded = circumstances.get("warnings")
    for text in recorded if isinstance(recorded, list) else ():
        yield Warning("recorded", False, f"from the timer: {text}")
    yield from _beyond(circumstances, "sentinel_drift", DRIFT, "the sentinel drifted by {:.1%} while timing")
    yield from _beyond(circumstances, "foreign_load", LOAD, "other programs kept {:.2f} cores busy")
    sentinels = [value for session in sessions(circumstances) if (value := _number(session, "sentinel_p50_us"))]
    if len(sentinels) > 1:
        drift = {"between_sessions": max(sentinels) / min(sentinels) - 1}
        yield from _beyond(drift, "between_sessions", DRIFT, "the sentinel differs by {:.1%} between merged sessions")


def _beyond(values: Mapping[str, Any], key: str, limits: tuple[float, float], text: str) -> Iterator[Warning]:
    value = _number(values, key)
    if value is not None and value > limits[0]:
        yield Warning(key, value > limits[1], text.format(value))


def _number(values: Mapping[str, Any], key: str) -> float | None:
    value = values.get(key)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _of_rows(rows: Sequence[LatencyRow]) -> Iterator[Warning]:
    yield from _above(
        rows, "interval", lambda r: (r.ci_high_us - r.ci_low_us) / r.p50_us, WIDE, "p50 intervals wider than {:.0%}"
    )
    yield from _above(rows, "repeat_noise", lambda r: r.repeat_noise, NOISY, "repeat noise above {:.0%}")
    yield from _above(rows, "rounds", lambda r: -r.rounds or -np.inf, -FEW_ROUNDS, "fewer than {:.0f} rounds")
    yield from _above(rows, "count", lambda r: -r.count or -np.inf, -FEW_RUNS, "fewer than {:.0f} timed runs")
    odd = [
        row.key for row in rows if row.p50_us > row.p95_us or row.p50_us < row.ci_low_us or row.p50_us > row.ci_high_us
    ]
    if odd:
        yield Warning("order", True, f"{len(odd)} rows: the p50 is outside its interval or above the p95", tuple(odd))


def _above(
    rows: Sequence[LatencyRow], about: str, value: Callable[[LatencyRow], float], limit: float, text: str
) -> Iterator[Warning]:
    # Unstated values are NaN, for which comparisons are false.
    beyond = sorted((row for row in rows if value(row) > limit), key=value, reverse=True)
    if beyond:
        message = f"{len(beyond)} of {len(rows)} rows: {text.format(abs(limit))}"
        yield Warning(about, len(beyond) > MANY * len(rows), message, tuple(row.key for row in beyond))


def _of_keys(rows: Sequence[LatencyRow]) -> Iterator[Warning]:
    unread = [row.key for row in rows if not _parse_key(row)]
    if unread:
        text = f"{len(unread)} rows: the key is not a block or architecture of this version of edgenas"
        yield Warning("key", True, text, tuple(unread))


def _parse_key(row: LatencyRow) -> BlockSpec | Arch | None:
    try:
        return parse_arch(row.key) if row.kind == NETWORK else parse_block(row.key)
    except SpaceError:
        return None


def _of_blocks(rows: Sequence[LatencyRow]) -> Iterator[Warning]:
    latency_us = {spec: row.p50_us for row in rows if isinstance(spec := _parse_key(row), BlockSpec)}
    slower = slower_than_larger(latency_us)
    if slower:
        serious = any(latency_us[a] > TWICE * latency_us[b] for a, b in slower)
        pairs = tuple(f"{a.key} ({latency_us[a]:.5g} µs) over {b.key} ({latency_us[b]:.5g} µs)" for a, b in slower)
        yield Warning("slower", serious, f"{len(slower)} blocks are slower than a block larger in all sizes", pairs)
    yield from _outliers([(spec.key, ratio) for spec, ratio in block_outliers(latency_us)], "blocks")


def _of_networks(table: LatencyTable, space: SearchSpace) -> Iterator[Warning]:
    rows = [row for row in table.rows if row.kind == NETWORK and row.space == space.structure_id and _parse_key(row)]
    if rows:
        features = np.log([_costs(space, row) for row in rows])
        ratios = outliers(features, np.array([row.p50_us for row in rows]))
        yield from _outliers([(rows[index].key, ratio) for index, ratio in ratios.items()], "networks")


def _costs(space: SearchSpace, row: LatencyRow) -> list[float]:
    """Return costs of a network that its latency roughly depends on."""
    specs = space.with_classes(row.num_classes).unroll(parse_arch(row.key))
    costs = cost(specs)
    return [costs.macs, costs.weight_bytes, costs.peak_activation_bytes, len(specs)]


def _outliers(ratios: Sequence[tuple[str, float]], kind: str) -> Iterator[Warning]:
    if ratios:
        serious = any(max(ratio, 1 / ratio) > TWICE for _, ratio in ratios)
        keys = tuple(f"{key} ({ratio:.2f} times a smooth fit)" for key, ratio in ratios)
        yield Warning("outlier", serious, f"{len(ratios)} {kind} do not fit the others", keys)


def _missing(table: LatencyTable, blocks: Sequence[BlockSpec]) -> Iterator[Warning]:
    """Yield warnings about blocks without a row, which can only be regressed in the measured range of their kind."""
    measured = table.blocks()
    missing = [spec for spec in blocks if spec.key not in measured]
    ranges = _ranges(list(measured))
    outside = [spec.key for spec in missing if not _inside(spec, ranges)]
    inside = [spec.key for spec in missing if _inside(spec, ranges)]
    if outside:
        text = f"{len(outside)} of the space's {len(blocks)} blocks are missing and outside the measured range"
        yield Warning("outside", True, text, tuple(outside))
    if inside:
        text = f"{len(inside)} of the space's {len(blocks)} blocks are missing; a predictor regresses them"
        yield Warning("missing", False, text, tuple(inside))


def _ranges(keys: Sequence[str]) -> dict[str, tuple[dict[str, float], dict[str, float]]]:
    """Return the smallest and largest feature values of every kind of block."""
    features: dict[str, list[dict[str, float]]] = {}
    for key in keys:
        try:
            spec = parse_block(key)
        except SpaceError:
            continue
        features.setdefault(spec.family, []).append(block_features(spec))
    return {
        kind: tuple({name: end(row[name] for row in rows) for name in rows[0]} for end in (min, max))  # type: ignore[misc]
        for kind, rows in features.items()
    }


def _inside(spec: BlockSpec, ranges: Mapping[str, tuple[dict[str, float], dict[str, float]]]) -> bool:
    if spec.family not in ranges:
        return False
    low, high = ranges[spec.family]
    return all(low[name] <= value <= high[name] for name, value in block_features(spec).items())


def table_classes(name: str, table: LatencyTable, space: SearchSpace) -> int:
    """Return the number of classes of a space's networks in a table, or else of all its heads.

    Raises:
        TableError: the table has none, or several; the message calls it `name`.
    """
    numbers = {row.num_classes for row in table.rows if row.space == space.structure_id}
    for key in () if numbers else table.blocks():
        with contextlib.suppress(SpaceError):
            block = parse_block(key)
            if isinstance(block, HeadSpec):
                numbers.add(block.out_channels)
    if len(numbers) != 1:
        heads = f"heads of {', '.join(map(str, sorted(numbers)))} classes" if numbers else "no heads"
        raise TableError(f"{name} has {heads}: give the number of --classes of the networks of --space")
    return numbers.pop()
