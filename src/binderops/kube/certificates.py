"""What the certificate controller writes on Secrets and Ingresses, so that others can read it: the names alone.

Everything that it remembers about a certificate lies in annotations of the Secret that holds it. They are public.
"""

from __future__ import annotations

# --- on an Ingress, by its owner --------------------------------------------------------------------------------------

TLS_ACME = "kubernetes.io/tls-acme"
CLUSTER_ISSUER = "cert-manager.io/cluster-issuer"
ISSUER = "cert-manager.io/issuer"
ISSUER_KIND = "cert-manager.io/issuer-kind"
ISSUER_GROUP = "cert-manager.io/issuer-group"
KEY_ALGORITHM = "cert-manager.io/private-key-algorithm"
KEY_SIZE = "cert-manager.io/private-key-size"
CHALLENGE_CLASS = "acme.cert-manager.io/http01-ingress-ingressclassname"
ADOPT = "binderops.dev/adopt-secrets"
"""`true`: Secrets that Ingress names and somebody else made are taken over."""

# --- on a Secret of the controller's own ------------------------------------------------------------------------------

MANAGED_BY = "app.kubernetes.io/managed-by"
KUBE_LEGO = "kube-lego"
"""The value of MANAGED_BY: the Secret is the controller's own."""

INGRESS_NAME = "binderops.dev/certificate-ingress"
ISSUER_NAME = "binderops.dev/certificate-issuer"
NAMES = "binderops.dev/certificate-names"
"""Separated by commas."""
SPECIFICATION = "binderops.dev/certificate-specification"
"""A digest of what was asked for: names, issuer, kind of key."""
PLACEHOLDER = "binderops.dev/certificate-placeholder"
NOT_AFTER = "binderops.dev/certificate-not-after"
RENEW_AT = "binderops.dev/certificate-renew-at"
ARI_WINDOW = "binderops.dev/certificate-renewal-window"
"""START/END, as the CA suggests it (RFC 9773)."""
ARI_NEXT = "binderops.dev/certificate-renewal-window-next"
"""When the CA is to be asked for its window again."""
FAILURES = "binderops.dev/certificate-failures"
FAILURE_REASON = "binderops.dev/certificate-failure-reason"
FAILURE_AT = "binderops.dev/certificate-failed-at"
FAILED_SPECIFICATION = "binderops.dev/certificate-failed-specification"
LAST_ERROR = "binderops.dev/certificate-last-error"
NEXT_ATTEMPT = "binderops.dev/certificate-next-attempt"
REVOKE = "binderops.dev/certificate-revoke"
"""Written by an operator: a reason of RFC 5280 (`keyCompromise`, `superseded`, …): revoked, and renewed."""
REVOKED = "binderops.dev/certificate-revoked"
"""The serial number (hexadecimal) of the certificate that was revoked last."""

# --- what else the controller makes -----------------------------------------------------------------------------------

ACCOUNT_SECRET = "kube-lego-account"  # noqa: S105 - a name
AUTHORITY_SECRET = "kube-lego-ca"  # noqa: S105 - a name
DIRECTORY = "binderops.dev/acme-directory"
ACCOUNT = "binderops.dev/acme-account"
ACCOUNT_EMAIL = "binderops.dev/acme-email"
ORDER = "binderops.dev/acme-order"
ORDER_FOR = "binderops.dev/acme-order-for"
COMPONENT = "app.kubernetes.io/component"
"""Of what the controller makes: Secrets are `certificate`, `order`, `account` or `authority`, all else is `solver`."""
