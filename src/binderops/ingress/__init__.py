"""The nginx-ingress controller: watches Ingresses, Services and EndpointSlices, and keeps nginx in step with them.

    watcher.py ── objects ──► routing.py ── Routing ──► configuration.py ── nginx.conf ──► proxy.py (test, swap, reload)
         └────── Secrets ───► tls.py ────── files ────────────┘

`picture.py` joins the two ways; `quarantine.py` finds the Ingress for which nginx refuses everything.

It knows nothing of what is behind the Kubernetes API, and nothing of an Ingress reaches nginx.conf but as a value of a
type that was parsed: hosts, paths, addresses, and annotations from an allow-list.
"""
