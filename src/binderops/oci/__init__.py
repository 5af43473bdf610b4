"""The door to image registries: names, the distribution protocol, tokens, and images made without unpacking.

`references` reads names, `registry` speaks the protocol, `tokens` says who may do what, `layers` extends images.
"""
