"""WHETHER TO BELIEVE IT: how well scores rank networks, and from when on a supernet pays. Numbers only."""
