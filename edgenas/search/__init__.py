"""Multi-objective search over integer genes, independent of torch and data."""

from edgenas.search.batch_evaluation import Failure
from edgenas.search.loop import Progress, optimise
from edgenas.search.result import SearchResult

__all__ = ["Failure", "Progress", "SearchResult", "optimise"]
