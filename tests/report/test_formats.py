import pytest

from edgenas.report.formats import duration, ms, ms_range, percent


@pytest.mark.parametrize(
    ("value", "text"), [(412.3, "0.412"), (9_999.0, "9.999"), (12_346.0, "12.35"), (123_450.0, "123.5"), (None, "–")]
)
def test_microseconds_are_read_in_milliseconds(value: float | None, text: str) -> None:
    assert ms(value) == text


def test_intervals_and_rates() -> None:
    assert ms_range((398.0, 431.2)) == "0.398 to 0.431"
    assert ms_range(None) == "–"
    assert percent(0.9721) == "97.2 %"
    assert percent(None) == "–"


@pytest.mark.parametrize(
    ("seconds", "text"), [(8.31, "8.3 s"), (250, "4 min 10 s"), (3599.6, "1 h 00 min"), (7500, "2 h 05 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
