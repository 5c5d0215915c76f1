"""Showing: an HTML page, and Markdown with plots, from a run folder's saved files only."""
