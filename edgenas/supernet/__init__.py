"""The supernet with its elastic weights, and the plain subnets cut out of it. Torch."""
