"""The config of a run: its sections, and how it is read and written."""
