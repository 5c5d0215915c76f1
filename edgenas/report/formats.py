"""Format numbers for people: milliseconds, percent, durations."""

from __future__ import annotations

from edgenas.quantities import milliseconds

MISSING = "–"


def ms(microseconds: float | None) -> str:
    """Return microseconds as milliseconds without the unit, like `0.412`."""
    if microseconds is None:
        return MISSING
    return milliseconds(microseconds)


def ms_range(interval_us: tuple[float, float] | None) -> str:
    """Return an interval in milliseconds without the unit, like `0.398 to 0.431`."""
    return MISSING if interval_us is None else f"{ms(interval_us[0])} to {ms(interval_us[1])}"


def percent(fraction: float | None, decimals: int = 1) -> str:
    """Return a fraction in percent, like `94.2 %`."""
    return MISSING if fraction is None else f"{100 * fraction:.{decimals}f} %"


def number(value: float | None, decimals: int = 2) -> str:
    """Return a number with fixed decimals."""
    return MISSING if value is None else f"{value:.{decimals}f}"


def duration(seconds: float) -> str:
    """Return a duration, like `8.3 s`, `4 min 10 s` or `2 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def energy(joules: float) -> str:
    """Return energy, like `512 J` or `3.42 Wh`."""
    return f"{joules:.3g} J" if joules < 1000 else f"{joules / 3600:.3g} Wh"
