"""The messages that are read from protobuf: field numbers as Kubernetes' generated.proto files have them.

Each line is `number name[:form]`: the form defaults to string; `[]X` repeats; `{}X` is a map from strings to X.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Field(NamedTuple):
    """A field: its JSON name, its form (a scalar or a message), whether it repeats, and what a map's values are."""

    name: str
    form: str = "string"
    repeated: bool = False
    of: str = ""


_TABLE: Mapping[str, str] = {
    "Unknown": "1 typeMeta:TypeMeta, 2 raw:bytes, 3 contentEncoding, 4 contentType",
    "TypeMeta": "1 apiVersion, 2 kind",
    "Quantity": "1 string",
    "IntOrString": "1 type:int, 2 intVal:int, 3 strVal",
    "StringList": "1 items:[]string",
    # meta.k8s.io/v1
    "ObjectMeta": """1 name, 2 generateName, 3 namespace, 4 selfLink, 5 uid, 6 resourceVersion, 7 generation:int,
        8 creationTimestamp:Time, 9 deletionTimestamp:Time, 10 deletionGracePeriodSeconds:int, 11 labels:{}string,
        12 annotations:{}string, 13 ownerReferences:[]OwnerReference, 14 finalizers:[]string,
        17 managedFields:[]ManagedFieldsEntry""",
    "OwnerReference": "1 kind, 3 name, 4 uid, 5 apiVersion, 6 controller:bool, 7 blockOwnerDeletion:bool",
    "ManagedFieldsEntry": """1 manager, 2 operation, 3 apiVersion, 4 time:Time, 6 fieldsType, 7 fieldsV1:FieldsV1,
        8 subresource""",
    "DeleteOptions": """1 gracePeriodSeconds:int, 2 preconditions:Preconditions, 3 orphanDependents:bool,
        4 propagationPolicy, 5 dryRun:[]string, 6 ignoreStoreReadErrorWithClusterBreakingPotential:bool""",
    "Preconditions": "1 uid, 2 resourceVersion",
    # v1
    "Secret": "1 metadata:ObjectMeta, 2 data:{}bytes, 3 type, 4 stringData:{}string, 5 immutable:bool",
    "ConfigMap": "1 metadata:ObjectMeta, 2 data:{}string, 3 binaryData:{}bytes, 4 immutable:bool",
    "Namespace": "1 metadata:ObjectMeta, 2 spec:NamespaceSpec, 3 status:NamespaceStatus",
    "NamespaceSpec": "1 finalizers:[]string",
    "NamespaceStatus": "1 phase",
    "ServiceAccount": """1 metadata:ObjectMeta, 2 secrets:[]ObjectReference, 3 imagePullSecrets:[]LocalObjectReference,
        4 automountServiceAccountToken:bool""",
    "LocalObjectReference": "1 name",
    "ObjectReference": "1 kind, 2 namespace, 3 name, 4 uid, 5 apiVersion, 6 resourceVersion, 7 fieldPath",
    "Event": """1 metadata:ObjectMeta, 2 involvedObject:ObjectReference, 3 reason, 4 message, 5 source:EventSource,
        6 firstTimestamp:Time, 7 lastTimestamp:Time, 8 count:int, 9 type, 10 eventTime:MicroTime, 11 series:EventSeries,
        12 action, 13 related:ObjectReference, 14 reportingComponent, 15 reportingInstance""",
    "EventSource": "1 component, 2 host",
    "EventSeries": "1 count:int, 2 lastObservedTime:MicroTime",
    "events.k8s.io/v1/Event": """1 metadata:ObjectMeta, 2 eventTime:MicroTime, 3 series:EventSeries,
        4 reportingController, 5 reportingInstance, 6 action, 7 reason, 8 regarding:ObjectReference,
        9 related:ObjectReference, 10 note, 11 type, 12 deprecatedSource:EventSource, 13 deprecatedFirstTimestamp:Time,
        14 deprecatedLastTimestamp:Time, 15 deprecatedCount:int""",
    # coordination.k8s.io/v1
    "Lease": "1 metadata:ObjectMeta, 2 spec:LeaseSpec",
    "LeaseSpec": """1 holderIdentity, 2 leaseDurationSeconds:int, 3 acquireTime:MicroTime, 4 renewTime:MicroTime,
        5 leaseTransitions:int, 6 strategy, 7 preferredHolder""",
    # authentication.k8s.io/v1
    "TokenReview": "1 metadata:ObjectMeta, 2 spec:TokenReviewSpec, 3 status:TokenReviewStatus",
    "TokenReviewSpec": "1 token, 2 audiences:[]string",
    "TokenReviewStatus": "1 authenticated:bool, 2 user:UserInfo, 3 error, 4 audiences:[]string",
    "UserInfo": "1 username, 2 uid, 3 groups:[]string, 4 extra:{}StringList",
    "TokenRequest": "1 metadata:ObjectMeta, 2 spec:TokenRequestSpec, 3 status:TokenRequestStatus",
    "TokenRequestSpec": "1 audiences:[]string, 3 boundObjectRef:BoundObjectReference, 4 expirationSeconds:int",
    "BoundObjectReference": "1 kind, 2 apiVersion, 3 name, 4 uid",
    "TokenRequestStatus": "1 token, 2 expirationTimestamp:Time",
    "SelfSubjectReview": "1 metadata:ObjectMeta",
    # authorization.k8s.io/v1
    "SubjectAccessReview": "1 metadata:ObjectMeta, 2 spec:SubjectAccessReviewSpec",
    "LocalSubjectAccessReview": "1 metadata:ObjectMeta, 2 spec:SubjectAccessReviewSpec",
    "SelfSubjectAccessReview": "1 metadata:ObjectMeta, 2 spec:SelfSubjectAccessReviewSpec",
    "SelfSubjectRulesReview": "1 metadata:ObjectMeta, 2 spec:SelfSubjectRulesReviewSpec",
    "SelfSubjectRulesReviewSpec": "1 namespace",
    "SubjectAccessReviewSpec": """1 resourceAttributes:ResourceAttributes,
        2 nonResourceAttributes:NonResourceAttributes, 3 user, 4 groups:[]string, 5 extra:{}StringList, 6 uid""",
    "SelfSubjectAccessReviewSpec": """1 resourceAttributes:ResourceAttributes,
        2 nonResourceAttributes:NonResourceAttributes""",
    "ResourceAttributes": "1 namespace, 2 verb, 3 group, 4 version, 5 resource, 6 subresource, 7 name",
    "NonResourceAttributes": "1 path, 2 verb",
    # policy/v1
    "Eviction": "1 metadata:ObjectMeta, 2 deleteOptions:DeleteOptions",
    # autoscaling/v1
    "Scale": "1 metadata:ObjectMeta, 2 spec:ScaleSpec, 3 status:ScaleStatus",
    "ScaleSpec": "1 replicas:int",
    "ScaleStatus": "1 replicas:int, 2 selector",
}


def _field(text: str) -> tuple[int, Field]:
    number, _, rest = text.strip().partition(" ")
    name, _, form = rest.partition(":")
    if form.startswith("[]"):
        return int(number), Field(name, form[2:], repeated=True)
    if form.startswith("{}"):
        return int(number), Field(name, "map", of=form[2:])
    return int(number), Field(name, form or "string")


MESSAGES: Mapping[str, Mapping[int, Field]] = {
    message: dict(_field(part) for part in lines.split(",")) for message, lines in _TABLE.items()
}
