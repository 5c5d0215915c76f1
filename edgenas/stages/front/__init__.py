"""The front of a search: scored, exported, measured, judged and ordered."""
