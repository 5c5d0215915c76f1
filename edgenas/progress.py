"""Callbacks that report progress."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with a label, the units done, and all units. After a colon, the label gives details such as the speed."""
StepProgress = Callable[[int, int], None]
"""Called with the units done and all units."""
