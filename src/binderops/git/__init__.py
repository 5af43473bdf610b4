"""The door to git: what a reference of a remote repository is now (`remote`), and a folder as an archive (`folders`).

Nothing here prompts, runs a hook, or reads a configuration file of the machine.
"""
