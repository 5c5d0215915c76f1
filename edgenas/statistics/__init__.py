"""Rank correlations, significance, and comparisons of networks. Numbers only, no torch."""
