"""What may differ on a machine after a purge, and why: a regular expression for the line of `whole` ("kind line")."""

from __future__ import annotations

NODE_GONE = {
    r"file /var/log/journal(/|\s)": "systemd's journal of the unit that ran",
    r"file /run/(log/journal|systemd|udev)(/|\s)": "systemd's own accounts of units, its journal's cursors",
    r"file /run/netns(\s|$)|mount \S+ /run/netns ": "iproute2's folder, made at the first named namespace of a machine",
    r"file /run/xtables\.lock ": "the lock of iptables, which every use of it makes",
    r"file /run/(runc|containers|containers/networks) d": "empty folders of runc and Podman",
    r"file /var/lib/containers/cache/blob-info-cache-v1\.boltdb ": "Podman's note of layers; purge names it as staying",
    r"unit network(-online|-pre)?\.target ": "what systemd counts as reached, which the node's unit comes after",
    r"unit (systemd-|user|init\.scope|session)": "what systemd starts when it pleases",
    r"process (/lib/systemd/|\(sd-)": "helpers of systemd, which end when they please",
    r"sysctl kernel\.(random|ns_last_pid|pty\.nr)|sysctl fs\.(dentry-state|file-nr|inode-)": "counters of the kernel",
    r"sysctl (net\.netfilter\.nf_conntrack_count|fs\.quota\.|fs\.aio-nr)": "counters of the kernel",
    r"sysctl fs\.inotify\.": "shared with the machine below, where other nodes of the tests come and go",
    r"sysctl kernel\.(tainted|perf_event_max_sample_rate) ": "the kernel's own, of the whole machine",
}

NODE_RUNS = {
    r"file /(var/lib|run)/binderops/(nodes/)?lab(/|\s)": "what a node that runs writes in its own folders",
}

DEPLOYMENT_GONE = NODE_GONE | {
    r"file /root(/|\s)": "caches of package managers, which other programs share",
}
