"""Images and labels: reading, checking, splitting and preprocessing them."""
