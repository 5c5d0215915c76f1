"""Choosing: a multi-objective search over integer genes that knows neither torch nor data."""

from edgenas.search.loop import Progress, SearchResult, optimise

__all__ = ["Progress", "SearchResult", "optimise"]
