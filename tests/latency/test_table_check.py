from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_tables import row, table
from spaces import SMALL, random_archs

from edgenas.latency.plausibility import block_outliers, outliers, slower_than_larger
from edgenas.latency.table import STATISTIC, LatencyTable
from edgenas.latency.table_check import Warning, check_table
from edgenas.latency.table_merge import merge_tables
from edgenas.profiling.timing_plan import distinct_blocks
from edgenas.records.latency import UNKNOWN
from edgenas.space.blocks import parse_block
from edgenas.space.blocks.spec import BlockSpec
from edgenas.space.cost import cost

BLOCKS = distinct_blocks(SMALL.with_classes(10))


def device_us(block: BlockSpec) -> float:
    """A device that charges for MACs, weights and a call."""
    paper = cost([block])
    return 2 + paper.macs / 2e4 + paper.weight_bytes / 1e4


SOUND = table([row(block.key, device_us(block)) for block in BLOCKS])


def about(warnings: tuple[Warning, ...]) -> dict[str, Warning]:
    return {warning.about: warning for warning in warnings}


def changed(first: int, **changes: Any) -> LatencyTable:
    """The sound table with its first rows changed."""
    rows = [replace(one, **changes) if n < first else one for n, one in enumerate(SOUND.rows)]
    return replace(SOUND, rows=tuple(rows))


def test_a_sound_table_has_no_warnings() -> None:
    assert check_table(SOUND, SMALL, BLOCKS) == ()


@pytest.mark.parametrize(
    ("word", "changes"),
    [
        ("interval", {"ci_low_us": 0.01, "ci_high_us": 1e9, "p95_us": 1e9}),
        ("repeat_noise", {"repeat_noise": 0.2}),
        ("rounds", {"rounds": 2}),
        ("count", {"count": 10}),
    ],
)
def test_warnings_about_rows_name_them_and_are_serious_for_many_rows(word: str, changes: dict[str, Any]) -> None:
    few, many = (about(check_table(changed(n, **changes)))[word] for n in (2, len(BLOCKS) // 2))
    assert (few.serious, many.serious) == (False, True)
    assert set(few.rows) == {block.key for block in BLOCKS[:2]}


@pytest.mark.parametrize("changes", [{"p95_us": 1e-3}, {"ci_high_us": 1e-3}, {"ci_low_us": 1e9}])
def test_a_p50_outside_its_own_interval_is_serious(changes: dict[str, Any]) -> None:
    found = about(check_table(changed(1, **changes)))["order"]
    assert found.serious
    assert found.rows == (BLOCKS[0].key,)


@pytest.mark.parametrize(("key", "values"), [("sentinel_drift", (0.02, 0.1, 0.3)), ("foreign_load", (0.01, 0.2, 0.9))])
def test_drift_and_load_are_flagged_by_degrees(key: str, values: tuple[float, float, float]) -> None:
    found = [about(check_table(replace(SOUND, circumstances={key: value}))) for value in values]
    assert [one[key].serious if key in one else None for one in found] == [None, False, True]


def test_warnings_of_the_timer_and_unknown_fields_are_reported() -> None:
    identity = replace(SOUND.identity, threads=UNKNOWN)
    circumstances = {"warnings": ["it was hot"], STATISTIC: "mean"}
    flagged = replace(changed(1, p95_us=float("nan")), identity=identity, circumstances=circumstances)
    found = about(check_table(flagged))
    assert "it was hot" in found["recorded"].text
    assert "threads" in found["identity"].text
    assert found["unstated"].text == "p50_us is: mean; not in the source: p95_us"


@pytest.mark.parametrize("circumstances", [{"warnings": "x"}, {"sentinel_drift": "much"}, {"sessions": [1]}])
def test_circumstances_of_other_types_are_accepted(circumstances: dict[str, Any]) -> None:
    assert check_table(replace(SOUND, circumstances=circumstances)) == ()


def test_sessions_whose_sentinels_differ_are_flagged() -> None:
    slow, quick = (replace(SOUND, circumstances={"sentinel_p50_us": value}) for value in (110.0, 100.0))
    found = about(check_table(merge_tables([slow, quick], ["slow", "quick"])))["between_sessions"]
    assert "10.0%" in found.text


def test_unknown_keys_are_serious() -> None:
    rows = (*SOUND.rows, row("uib_i3_r8"), row("resnet", kind="network"))
    found = about(check_table(replace(SOUND, rows=rows)))["key"]
    assert found.serious
    assert found.rows == ("uib_i3_r8", "resnet")


def test_missing_blocks_are_sorted_by_their_remedy() -> None:
    stems = [block.key for block in BLOCKS if block.kind == "stem"]
    inner = next(block.key for block in BLOCKS if block.kind == "ir" and "_k5_" in block.key and "_m96_" in block.key)
    rows = tuple(one for one in SOUND.rows if one.key not in [*stems, inner])
    found = about(check_table(replace(SOUND, rows=rows), SMALL, BLOCKS))
    assert (found["outside"].serious, set(found["outside"].rows)) == (True, set(stems))
    assert (found["missing"].serious, found["missing"].rows) == (False, (inner,))


@given(st.sampled_from([block for block in BLOCKS if block.kind == "ir"]), st.floats(2.5, 50), st.booleans())
def test_one_block_far_off_is_found(odd: BlockSpec, factor: float, slow: bool) -> None:
    latency_us = {block: device_us(block) for block in BLOCKS}
    latency_us[odd] *= factor if slow else 1 / factor
    found = block_outliers(latency_us)
    assert found[0][0] == odd
    assert found[0][1] == pytest.approx(factor if slow else 1 / factor, rel=0.5)


@given(st.integers(0, 2**32))
def test_ordinary_noise_makes_no_outliers(seed: int) -> None:
    noise = np.random.default_rng(seed).lognormal(0, 0.03, len(BLOCKS))
    latency_us = {block: device_us(block) * factor for block, factor in zip(BLOCKS, noise.tolist(), strict=True)}
    assert block_outliers(latency_us) == []
    assert slower_than_larger(latency_us) == []


def test_too_few_rows_have_no_outliers() -> None:
    assert outliers(np.arange(4.0)[:, None], np.array([1.0, 1.0, 50.0, 1.0])) == {}


def test_a_block_slower_than_a_larger_one_is_named_beside_it() -> None:
    keys = [f"ir_i24_r{size}_o24_m72_k3_s1_se0_relu" for size in (14, 28)]
    small, large = map(parse_block, keys)
    assert slower_than_larger({small: 20.0, large: 10.0}) == [(small, large)]
    assert slower_than_larger({small: 11.0, large: 10.0}) == []
    other_activation = parse_block(keys[1].replace("relu", "hardswish"))
    assert slower_than_larger({small: 20.0, other_activation: 10.0}) == []
    found = about(check_table(table([row(keys[0], 25.0), row(keys[1], 10.0)])))["slower"]
    assert found.serious
    assert found.rows == (f"{keys[0]} (25 µs) over {keys[1]} (10 µs)",)


def test_a_network_that_does_not_fit_the_others_is_found() -> None:
    archs = list(dict.fromkeys(random_archs(SMALL, 60)))
    latency = [sum(map(device_us, SMALL.with_classes(10).unroll(arch))) for arch in archs]
    latency[7] *= 4
    rows = [
        replace(row(a.id, us, kind="network"), space=SMALL.structure_id) for a, us in zip(archs, latency, strict=True)
    ]
    found = about(check_table(table(rows), SMALL))["outlier"]
    assert found.serious
    assert len(found.rows) == 1
    assert found.rows[0].startswith(archs[7].id)
