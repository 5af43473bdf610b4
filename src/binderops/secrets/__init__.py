"""Secrets at rest: sealed files, who reads them, and the one door to sops.

Clear text travels by pipes only and lives in types (`values.Secret`, `values.ClearText`) whose every textual form is a
short keyed digest. `layers.open_layer` is what `state` calls; `values.reveal_for_helm` is the one way out.
"""
