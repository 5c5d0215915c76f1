"""Read trained networks of other libraries: by name with their weights, as a search space, and as a supernet. Torch.

One file describes the networks of one library: `torchvision_networks`, `timm_networks`, `efficientnet_lite`. They list
a network's stem, blocks and head as modules in the order of execution. `source_layers` reads these as convolutions
with their norms and activations, `source_network` puts them together, `network_names` builds networks by name,
`space_around` derives the space, and `weights` copies the tensors.

`sources` loads a network with its weights by name. One file finds the weights of one kind of name, and checks their
digest: `package_weights`, `torchvision_weights`, `hub_weights`, `ofa_weights`. `state_dict_file` reads them.
"""
