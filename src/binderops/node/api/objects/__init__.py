"""What kube-apiserver does to objects, as pure functions: nothing here knows HTTP, the store, or a clock.

The server calls, in kube-apiserver's own order (`schema` is `kube.schemas.schema_of(group, version, kind)`, `now` an
aware datetime, objects are plain dicts and are never changed in place; refusals are `errors.KubernetesError`s whose
`status` is the `Status` object to send):

    decoding.decode_body(body, content_type) -> Decoded(object, duplicates)         JSON, YAML, protobuf (Secret, Lease, …)
    strict.check_fields(object, schema, *, mode, duplicates=()) -> list[str]        mode Strict|Warn|Ignore; the warnings;
                                                                                    raises 400 as the real decoder does
    writes.prepare_create(object, *, schema, manager, now) -> dict                  defaults, managedFields, metadata, status
    writes.prepare_replace(live, object, *, schema, manager, now, subresource="") -> dict
    writes.prepare_patch(live, body, content_type, *, schema, manager, now, subresource="", field_validation="Warn",
                         force=False) -> tuple[dict, list[str]]                     all four patch kinds; live None: create-by-apply
    admission.admit_pod(pod, *, service_account) -> dict                            token volume, pull secrets, tolerations
    validation.validate(new, old=None, *, schema, subresource="") -> list[Cause]    semantic checks
    validation.raise_invalid(causes, object, *, resource)                           422 Invalid, when there are any
    writes.unchanged(old, new) -> bool                                              a write that changes nothing is not stored

Below them:

    apply.apply_patch(live, patch, *, manager, force, subresource, schema, now) -> dict
    apply.track_update(old, new, *, manager, subresource, schema, now) -> dict
    strategic.strategic_merge(live, patch, *, schema) -> dict
    merge.json_merge(live, patch) -> dict                                           RFC 7386
    json_patch.json_patch(live, operations) -> dict                                 RFC 6902
    defaults.apply_defaults(object, schema) -> dict
    preparing.prepare_for_create / prepare_for_update                               status, generation, spec on /status
    protobuf.decode(body) -> dict
    tables.table(objects, kind, *, now, list_meta=None, include="Metadata") -> dict  meta.k8s.io/v1 Table
    status.failure(code, reason, message, *, details=None) -> dict                  a Status object
"""
