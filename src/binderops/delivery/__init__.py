"""The actions behind the commands: up, deploy, prove, launch, status, logs, down, purge.

Each is a plain coroutine that takes typed arguments, reports progress to the `Progress` it is given, and returns one
typed result (`binderops.delivery.results`) or raises one error.
"""
