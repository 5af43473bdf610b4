"""What looks after the storage of the chart's registry, beside the registry that runs: images under a byte budget.

    notices   the registry tells who pushed and pulled what: an image's last use is the time of its manifest's link
    budget    when images must go, and which: the one that was not used for longest first
    picture   what the storage holds, read once
    removing  one image away: its tags and its manifest
    sweeping  what no manifest needs any more: links, blobs, uploads that broke off
    cleaner   the loop over all of it

Distribution's own garbage collection wants a registry that does not run, or loses images that were acknowledged. Here
nothing is deleted at once: it is put aside, looked at again, and put back where somebody has begun to use it.
"""
