"""Search strategies, one file each, behind the protocol in `strategy`."""
