"""What can be built: archs, spaces, BlockSpecs, their costs. NumPy only."""
