"""One network holding them all: elastic weights, and the plain subnets cut out of them. Torch."""
