"""Rank correlations, significance tests and comparisons of networks, without torch."""
