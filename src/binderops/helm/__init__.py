"""The one door to Helm.

Rendering and reading run in this process, by Helm's own library. Whatever talks to a cluster runs in a child process
(`binderops.helm.child`), spawned, its input on a pipe, killed at its deadline and with the process that asked: against
an API that accepts and never answers, the library neither times out nor can be cancelled.
"""
