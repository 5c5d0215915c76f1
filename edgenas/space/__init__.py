"""Architectures, search spaces, block kinds, and computed costs. NumPy only."""
