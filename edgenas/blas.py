"""One BLAS thread for small matrices: results that do not depend on the number of threads, and no time lost on them.

A threaded BLAS splits a product or a factorisation by the number of its threads and adds the parts in another order,
so the last bits of a result change with that number. A search amplifies them: another candidate ranks first, is
evaluated, and the front is another one. On matrices of a few hundred rows the threads gain nothing either; they spin
while they wait for each other, which costs most where other programs want the cores. With one thread BLAS runs the
same kernels in the same order each time, so equal inputs give equal bits on the same CPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Run NumPy's and SciPy's linear algebra in one thread; also a decorator. Nested uses are allowed.

    The limit holds for the whole process while it lasts, so nothing that trains or scores networks belongs inside.
    Apple's Accelerate, which threadpoolctl cannot limit, is left as it is.
    """
    with _controller().limit(limits=1, user_api="blas"):
        yield


@cache
def _controller() -> ThreadpoolController:
    """Return a handle on the BLAS libraries in use; SciPy, which has its own, must be loaded before they are listed."""
    import scipy.linalg  # noqa: F401

    return ThreadpoolController()
