"""Showing: a Markdown page with plots, drawn from a run folder's saved files only."""
