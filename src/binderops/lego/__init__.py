"""The certificate controller: a certificate for each Ingress that asks for one, renewed in time.

It knows only the Kubernetes API, ACME servers, and the hosts that it checks before it orders. What it remembers lies
in the API: the account's key and each order in Secrets of their own, times and failures in annotations of the
certificate's Secret (kube.certificates), so that a process that is killed anywhere is picked up by the next one.

    wanted       what Ingresses ask for (pure)          settings     what the chart hands over
    decisions    what a Secret needs, and when (pure)   renewal      when to renew (pure)
    backoff      when to try again (pure)               external     Secrets that others fill (pure)
    pairs        keys, CSRs, chains: made and examined  authority    the local CA
    acme_door    the one door to ACME servers           accounts     account keys, one a directory
    orders       an order's Secret                      ordering     an order, from its key to its chain
    challenges   the path to the solver, self-check     solver       answers to challenges, health, metrics
    targets      writes certificates' Secrets           leader       one of several replicas works
    work         one step for one certificate           controller   the loop
"""
