"""What a run depends on: sections of a config, the whole of it, and how it is read and written."""
