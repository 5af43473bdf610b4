"""What a deployment should be, read from files: chart, dependencies, layers, values, render.

Nothing here touches a network or a cluster, and time is passed in: the same files give the same state everywhere.
"""
