"""A run folder: its config and space, its lock, and the files that its stages write."""
