"""Read trained networks of other libraries: the search space around one, and a supernet with its weights. Torch.

One file describes the networks of one library: `torchvision_networks`, `timm_networks`, `efficientnet_lite`. They list
a network's stem, blocks and head as modules in the order of execution. `source_layers` reads these as convolutions
with their norms and activations, `source_network` puts them together, `network_names` builds networks by name,
`space_around` derives the space, and `weights` copies the tensors.
"""
