"""Classes of networks that are read, of all libraries."""

from __future__ import annotations

from edgenas.supernet.pretrained import efficientnet_lite, timm_networks, torchvision_networks

FAMILIES = (*torchvision_networks.FAMILIES, *timm_networks.FAMILIES, *efficientnet_lite.FAMILIES)
