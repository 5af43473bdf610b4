"""The door to image registries: names, the distribution protocol, tokens, and images made without unpacking.

`references` reads names, `registry` speaks the protocol, `insisting` asks again, `tokens` says who may do what, and
`layers` extends images.
"""
