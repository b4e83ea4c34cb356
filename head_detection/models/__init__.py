"""The network: bodies, pyramids, proposals, heads, and the files that hold them."""
