"""Training the supernet, and scoring the subnets that come out of it. Torch."""
