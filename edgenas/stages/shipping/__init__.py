"""The network that ships: its files are exported, proven, timed again and bundled."""
