"""Property: what is allowed takes no longer than the minutes, and is all of it where the minutes suffice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenas.errors import ConfigError
from edgenas.profiling.device_time import LEAST_NETWORKS, Allowance, allow


def allowed(minutes: float, largest_us: float = 5_000, blocks: int = 400, networks: int = 60) -> Allowance:
    return allow(
        minutes,
        blocks=blocks,
        least_blocks=min(blocks, 40),
        networks=networks,
        rounds=16,
        smallest_us=1_000,
        largest_us=largest_us,
    )


@given(st.floats(0.01, 100), st.floats(1_000, 500_000), st.integers(0, 1000), st.integers(LEAST_NETWORKS, 200))
def test_it_fits_or_is_refused(minutes: float, largest_us: float, blocks: int, networks: int) -> None:
    try:
        found = allowed(minutes, largest_us, blocks, networks)
    except ConfigError as error:
        wanted = float(str(error).split("at least ")[1].split()[0])
        assert wanted + 0.05 >= minutes
        assert allowed(wanted + 0.1, largest_us, blocks, networks).networks >= LEAST_NETWORKS
        return
    assert found.seconds <= 60 * minutes
    assert min(blocks, 40) <= found.blocks <= blocks
    assert LEAST_NETWORKS <= found.networks <= networks


def test_with_minutes_to_spare_all_is_timed() -> None:
    found = allowed(30)
    assert (found.blocks, found.networks) == (400, 60)


def test_more_minutes_never_mean_less() -> None:
    some = [allowed(minutes) for minutes in (1, 1.5, 2, 3, 5)]
    assert [one.blocks for one in some] == sorted(one.blocks for one in some)
    assert [one.networks for one in some] == sorted(one.networks for one in some)
    assert some[0].blocks < 400


def test_too_few_minutes_are_refused_with_those_that_would_do() -> None:
    with pytest.raises(ConfigError, match=r"expected at least 0\.\d on this device, for 10 networks and the 40 blocks"):
        allowed(0.1)
