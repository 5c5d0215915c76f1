"""Choosing: a multi-objective search over integer genes that knows neither torch nor data."""

from edgenas.search.batch_evaluation import Failure
from edgenas.search.loop import Progress, optimise
from edgenas.search.result import SearchResult

__all__ = ["Failure", "Progress", "SearchResult", "optimise"]
