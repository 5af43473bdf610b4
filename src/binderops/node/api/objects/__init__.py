"""What kube-apiserver does to objects, as pure functions: nothing here knows HTTP, the store, or a clock.

The server calls, in kube-apiserver's own order:

    decoding.decode_body(body, content_type) -> Decoded(object, duplicates)     JSON, YAML, protobuf
    strict.check_fields(object, schema, *, mode, duplicates=()) -> warnings     mode Strict, Warn or Ignore
    writes.prepare_create(object, *, schema, manager, now) -> object            defaults, owners, identity, status
    writes.prepare_replace(live, object, *, schema, manager, now, subresource)
    writes.prepare_patch(live, body, content_type, *, schema, manager, now, subresource, field_validation, force)
        -> (object, warnings)                                                   all four; live None: an apply creates
    admission.admit_pod(pod, *, service_account) -> pod                         token volume, pull secrets, tolerations
    validation.validate(new, old, *, schema, subresource) -> causes             semantic checks
    validation.raise_invalid(causes, object)                                    422, if there are any
    writes.unchanged(old, new)                                                  a write that changes nothing
    tables.table(objects, kind, *, now, list_meta, include) -> Table            as kubectl prints

`schema` is `kube.schemas.schema_of(group, version, kind)`, `now` an aware datetime; objects are plain dicts and are
never changed in place. Refusals are `errors.KubernetesError`s whose `status` is the `Status` object to send.
"""
