"""Divides indices into shuffled, stratified parts with equal images in one part, without torch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgenas.errors import DataError

Indices = npt.NDArray[np.int64]


def divide(labels: Indices, held_out: int, seed: int) -> tuple[Indices, Indices]:
    """Return the indices of two shuffled, stratified parts, the second of `held_out` images.

    Raises:
        DataError: a part would be too small for an image of every class.
    """
    from sklearn.model_selection import train_test_split

    try:
        kept, held = train_test_split(np.arange(len(labels)), test_size=held_out, random_state=seed, stratify=labels)
    except ValueError as error:
        raise DataError(
            f"cannot hold out {held_out} of {len(labels)} images ({error}): change data.validation or data.limit"
        ) from None
    return kept, held


def exchange_copies(kept: Indices, held: Indices, labels: Indices, copies: Indices) -> tuple[Indices, Indices]:
    """Return the two parts with equal images in the first one, each exchanged for a unique image of its class.

    The sizes of parts and classes are preserved as long as the class has unique images to exchange.

    Args:
        kept: indices of the first part.
        held: indices of the second part.
        labels: labels of all images, int64 (n,).
        copies: result of `equal_groups`, int64 (n,).
    """
    kept, held = kept.copy(), held.copy()
    unique = np.bincount(copies, minlength=len(copies))[copies] == 1
    unpaired = []
    for index in np.flatnonzero(np.isin(copies[held], copies[kept])):
        spare = np.flatnonzero(unique[kept] & (labels[kept] == labels[held[index]]))
        if len(spare):
            kept[spare[-1]], held[index] = held[index], kept[spare[-1]]
        else:
            unpaired.append(index)
    return np.concatenate([kept, held[unpaired]]), np.delete(held, unpaired)


def equal_groups(contents: list[bytes]) -> Indices:
    """Return for each image the index of the first one of equal content, int64 (n,)."""
    first: dict[bytes, int] = {}
    return np.array([first.setdefault(content, index) for index, content in enumerate(contents)], dtype=np.int64)


def count_equal(copies: Indices) -> int:
    """Return the number of images that have an equal one, from the result of `equal_groups`."""
    _, counts = np.unique(copies, return_counts=True)
    return int(counts[counts > 1].sum())


def distinct_images(labels: Indices, copies: Indices) -> npt.NDArray[np.bool_]:
    """Return whether each image may be held out and is the first of its copies, bool (n,).

    An image in several classes is contradictory and may not be held out.
    """
    _, first, inverse = np.unique(copies, return_index=True, return_inverse=True)
    contradicted = np.zeros(len(first), dtype=bool)
    contradicted[inverse[labels != labels[first][inverse]]] = True
    chosen = np.zeros(len(labels), dtype=bool)
    chosen[first] = True
    return chosen & ~contradicted[inverse]


def hold_out(
    labels: Indices, held_out: int, seed: int, *, keep: int = 1, copies: Indices | None = None
) -> tuple[Indices, Indices]:
    """Return the indices of two shuffled, stratified parts, the second of about `held_out` images, no image in both.

    Every class has at least one distinct image in the second part and `keep` in the first, so it needs `keep + 1`.
    Images without copies are held out first.

    Args:
        labels: labels of the images, int64 (n,).
        held_out: images of the second part.
        seed: seed of the order.
        keep: minimum distinct images of every class in the first part.
        copies: int64 (n,), equal for equal images; None where all differ.
    """
    copies = np.arange(len(labels)) if copies is None else copies
    distinct = distinct_images(labels, copies)
    _, inverse, sizes = np.unique(copies, return_inverse=True, return_counts=True)
    counts = np.bincount(labels)
    most = np.bincount(labels[distinct], minlength=len(counts)) - keep
    quota = _quota(counts, held_out, np.ones_like(counts), most)
    order = np.random.default_rng(seed).permutation(len(labels))
    # One image of each group, by class, the smallest groups first, otherwise in the shuffled order.
    candidates = order[distinct[order]]
    size = sizes[inverse[candidates]]
    ranked = np.lexsort((np.arange(len(candidates)), size, labels[candidates]))
    candidates, size = candidates[ranked], size[ranked]
    label = labels[candidates]
    starts = np.searchsorted(label, label)
    rank = np.arange(len(candidates)) - starts
    total = np.cumsum(size)
    images_so_far = total - (total - size)[starts]
    chosen = ((images_so_far <= quota[label]) | (rank == 0)) & (rank < most[label])
    held = np.isin(inverse, inverse[candidates[chosen]])
    return order[~held[order]], order[held[order]]


def _quota(counts: Indices, total: int, low: Indices, high: Indices) -> Indices:
    """Divide `total` in proportion to `counts` into integers within bounds, rounding up the largest remainders."""
    exact = counts * total / counts.sum()
    quota: Indices = np.clip(np.floor(exact).astype(np.int64), low, high)
    while quota.sum() < min(total, high.sum()):
        quota[np.argmax(np.where(quota < high, exact - quota, -np.inf))] += 1
    while quota.sum() > max(total, low.sum()):
        quota[np.argmin(np.where(quota > low, exact - quota, np.inf))] -= 1
    return quota


def limited(labels: Indices, count: int | None, seed: int) -> Indices:
    """Return the indices of a stratified subset of `count` images; of all images, if None or more than there are."""
    if count is None or count >= len(labels):
        return np.arange(len(labels))
    left_out = len(labels) - count
    # Fewer images than classes cannot be stratified, but then nearly all of a shuffled split is used.
    if left_out < len(np.unique(labels)):
        return np.arange(count)
    return divide(labels, left_out, seed)[0]
