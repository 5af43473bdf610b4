"""Places to run: the protocol that each must offer, and its two kinds."""
