"""What the API says of itself: versions, discovery in both forms, OpenAPI v3."""

from __future__ import annotations

import platform
import sys
from typing import Any

import orjson

from binderops.kube import schemas
from binderops.node.api import refusals
from binderops.node.api.http import Answer, Request
from binderops.node.api.resources import GROUP_VERSIONS, RESOURCES

Object = dict[str, Any]
_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


class Discovery:
    """Every document of discovery, made once."""

    def __init__(self, server_address: str) -> None:
        supported = [(r.group, r.version, r.plural) for r in RESOURCES]
        supported += [(r.group, r.version, f"{r.plural}/{sub}") for r in RESOURCES for sub in r.subresources]
        aggregated = schemas.discovery(frozenset(supported))
        self._openapi_index = orjson.dumps(schemas.openapi_index(frozenset(supported)))
        self._aggregated = {
            f"/{root}": orjson.dumps({"kind": "APIGroupDiscoveryList", **_stated(aggregated[root])})
            for root in ("api", "apis")
        }
        groups = [_group(item) for item in aggregated["apis"]["items"]]
        self._plain: dict[str, bytes] = {
            "/version": orjson.dumps(version_document()),
            "/api": orjson.dumps(_core_versions(server_address)),
            "/apis": orjson.dumps({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}),
        }
        for group in groups:
            self._plain[f"/apis/{group['name']}"] = orjson.dumps({"kind": "APIGroup", "apiVersion": "v1", **group})
        for item in (*aggregated["api"]["items"], *aggregated["apis"]["items"]):
            name = item["metadata"].get("name", "")
            for version in item["versions"]:
                path = f"/apis/{name}/{version['version']}" if name else f"/api/{version['version']}"
                self._plain[path] = orjson.dumps(_resource_list(name, version))

    def answer(self, path: str, request: Request) -> Answer | None:
        """The answer for a path of discovery; None when it is none."""
        if path in self._aggregated and "as=APIGroupDiscoveryList" in request.header("accept"):
            return self._answer_aggregated(path, request)
        if path in self._plain:
            return Answer(self._plain[path])
        if path == "/openapi/v2":
            return _openapi_v2(request)
        if path == "/openapi/v3":
            return Answer(self._openapi_index)
        if path.startswith("/openapi/v3/"):
            return _openapi_document(path.removeprefix("/openapi/v3/"), request)
        return None

    def _answer_aggregated(self, path: str, request: Request) -> Answer:
        # Clients ask for v2 and v2beta1 in one header; who knows only the beta gets the plain form.
        if ";v=v2;" not in request.header("accept").replace(" ", "") + ";":
            return Answer(self._plain[path])
        return Answer(self._aggregated[path], media_type=_AGGREGATED)


def version_document() -> Object:
    """`/version`: that of the recorded API server, whose behaviour is imitated."""
    text = schemas.version()
    major, minor = text.lstrip("v").split(".")[:2]
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return {
        "major": major,
        "minor": minor,
        "gitVersion": f"{text}+binderops",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": f"cpython{sys.version_info.major}.{sys.version_info.minor}",
        "platform": f"linux/{machine}",
    }


def _openapi_v2(request: Request) -> Answer:
    """A document without paths: kubectl asks it, after OpenAPI v3, about kinds that v3 does not know.

    Without an answer kubectl says that the server could not be asked, not that it lacks the kind.
    """
    title, version = b"Kubernetes", schemas.version().encode()
    if "proto-openapi" in request.header("accept"):
        # gnostic's openapi.v2.Document: swagger = 1, info = 2 {title = 1, version = 2}, paths = 8
        info = b"\x0a%c%s\x12%c%s" % (len(title), title, len(version), version)
        body = b"\x0a\x032.0\x12%c%s\x42\x00" % (len(info), info)
        return Answer(body, media_type="application/com.github.proto-openapi.spec.v2.v1.0+protobuf")
    document = {"swagger": "2.0", "info": {"title": title.decode(), "version": version.decode()}, "paths": {}}
    return Answer(orjson.dumps(document))


def _openapi_document(path: str, request: Request) -> Answer:
    known = {f"apis/{group}/{version}" if group else f"api/{version}" for group, version in GROUP_VERSIONS}
    if path not in {*known, "api", "apis", "version"}:
        raise refusals.no_such_resource()
    index = schemas.openapi_index()["paths"][path]["serverRelativeURL"]
    tag = f'"{index.rpartition("=")[2]}"'
    headers = {"etag": tag, "vary": "Accept"}
    if request.query.get("hash"):
        headers["expires"] = "Fri, 31 Dec 9999 23:59:59 GMT"
    if tag in request.header("if-none-match"):
        return Answer(b"", code=304, headers=headers)
    return Answer(schemas.document(path), headers=headers)


def _stated(discovery: Object) -> Object:
    return {"apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": discovery["items"]}


def _core_versions(server_address: str) -> Object:
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server_address}],
    }


def _group(item: Object) -> Object:
    name = item["metadata"]["name"]
    versions = [{"groupVersion": f"{name}/{v['version']}", "version": v["version"]} for v in item["versions"]]
    return {"name": name, "versions": versions, "preferredVersion": versions[0]}


def _resource_list(group: str, version: Object) -> Object:
    group_version = f"{group}/{version['version']}" if group else version["version"]
    resources = []
    for resource in version["resources"]:
        namespaced = resource["scope"] == "Namespaced"
        entry = {
            "name": resource["resource"],
            "singularName": resource["singularResource"],
            "namespaced": namespaced,
            "kind": resource["responseKind"]["kind"],
            "verbs": resource["verbs"],
        }
        entry |= {key: resource[key] for key in ("shortNames", "categories") if key in resource}
        resources.append(entry)
        for below in resource.get("subresources", ()):
            kind = below["responseKind"]
            entry = {"name": f"{resource['resource']}/{below['subresource']}", "singularName": ""}
            entry |= {"namespaced": namespaced, "kind": kind["kind"], "verbs": below["verbs"]}
            if kind["version"]:
                entry |= {"group": kind["group"], "version": kind["version"]}
            resources.append(entry)
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources}
