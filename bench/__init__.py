"""Speed and memory, each figure beside its baseline. `make bench` runs all on the environment `local`."""
