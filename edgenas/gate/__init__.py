"""The gate: whether a bundle is within limits of latency, size and accuracy on its device."""
