"""`secrets check`: everything that can be said about the secrets of all environments, with the keys at hand."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from binderops.checks import Finding
from binderops.checks.secrets_clear import (
    ClearLeaf,
    clear_files,
    clear_history,
    clear_layers,
    clear_objects,
    newest_commit,
)
from binderops.checks.secrets_files import SecretFiles, read_secret_files
from binderops.checks.secrets_needs import combined_schema, needs, unknown_keys
from binderops.checks.secrets_seals import seals
from binderops.checks.secrets_shared import shared, wrong_digests
from binderops.delivery.secrets_place import SecretsPlace
from binderops.delivery.secrets_results import CheckResult, FindingInfo
from binderops.delivery.secrets_verdict import (
    Verdict,
    files_digest,
    is_current,
    last_verdict,
    write_verdict,
)
from binderops.errors import BinderOpsError, SecretsError
from binderops.secrets.sharing import refresh_digests
from binderops.state.chart import pack_chart
from binderops.state.deployment import load_deployment
from binderops.state.documents import read_document
from binderops.state.layers import read_layers
from binderops.state.project import Project
from binderops.state.values import leaves


def check_secrets(root: Path, project: Project, *, now: datetime, whole_history: bool = False) -> CheckResult:
    """Opens what can be opened, brings digests up to date, and reports. Slow digests are counted anew each time."""
    began = time.monotonic()
    on_this_machine = {name: found.target.node is not None for name, found in project.environments.items()}
    files = read_secret_files(root, on_this_machine)
    for environment in files.environments:
        if files.opened(environment):
            refresh_digests(root, environment)
    before = last_verdict(root)
    since = None if whole_history or before is None or set(_opened(files)) - set(before.opened) else before.commit
    findings = list(_unique([*quick_findings(root, project, files, now=now), *_slow_findings(files, since=since)]))
    write_verdict(
        root,
        Verdict(
            time=now,
            files=files_digest(root),
            findings=tuple(finding.id for finding in findings),
            commit=newest_commit(root),
            opened=_opened(files),
        ),
    )
    return CheckResult(
        findings=tuple(FindingInfo(**vars(finding)) for finding in findings),
        opened=_opened(files),
        closed=tuple(file.name for file in files.files if file.layer is None),
        checked=sum(1 for _ in files.credentials),
        seconds=round(time.monotonic() - began, 2),
    )


def refuse_shared(root: Path, project: Project, environment: str, *, now: datetime) -> None:
    """Before a deploy: raises SecretsError where a credential of `environment` stands elsewhere, or in clear.

    The last verdict counts while the sealed files are those that it is about; else the check runs.
    """
    verdict = last_verdict(root)
    if is_current(root, verdict) and verdict is not None and not verdict.findings:
        return
    result = check_secrets(root, project, now=now)
    stops = [one for one in result.findings if one.id in STOPS_A_DEPLOY]
    if stops:
        first = stops[0]
        more = f" (and {len(stops) - 1} more)" if len(stops) > 1 else ""
        raise SecretsError(
            f"{environment} is not deployed: {first.what}{more}",
            where=first.where,
            why=f"{first.why} ({first.id})",
            hint=f"{first.hint}; `binderops secrets check` shows all",
        )


STOPS_A_DEPLOY = frozenset(
    {
        "secrets.shared",
        "secrets.clear",
        "secrets.object",
        "secrets.not-sealed",
        "secrets.broken",
        "secrets.demonstration",
        "secrets.common-credential",
        "secrets.reader-of-both",
    }
)


def quick_findings(root: Path, project: Project, files: SecretFiles, *, now: datetime) -> Iterator[Finding]:
    """What takes no slow digest and no history: for every command that looks at a state."""
    yield from seals(files, now=now)
    yield from clear_files(files)
    schema = combined_schema(pack_chart(root, project.chart).content)
    for name in project.environments:
        yield from clear_layers(_clear_leaves(root, project, name))
        place = SecretsPlace(root, project, name)
        for file in files.of(name):
            if file.sealed is not None and file.path == place.file:
                yield from needs(name, file.sealed, place.needed)
                yield from unknown_keys(file.sealed, schema)
        if files.opened(name):
            yield from _objects(root, project, name, files)


def _slow_findings(files: SecretFiles, *, since: str | None) -> Iterator[Finding]:
    yield from shared(files)
    yield from wrong_digests(files)
    yield from clear_history(files, since=since)


def _objects(root: Path, project: Project, name: str, files: SecretFiles) -> Iterator[Finding]:
    try:
        deployment = load_deployment(root, project, name)
        yield from clear_objects(deployment.objects, files)
    except BinderOpsError as error:
        yield Finding("secrets.render", f"{name} does not render", error.where or name, error.why or error.what)


def _clear_leaves(root: Path, project: Project, name: str) -> Iterator[ClearLeaf]:
    patterns = project.environment(name).layers
    layers = read_layers(root, [one for one in patterns if not one.startswith("secret")], owner=name)
    documents = [
        *layers.documents,
        read_document(root / project.chart / "values.yaml", name=f"{project.chart}/values.yaml"),
    ]
    for document in documents:
        for path, value in leaves(document.values):
            yield ClearLeaf(path, value, document.place(path))


def _opened(files: SecretFiles) -> tuple[str, ...]:
    return tuple(file.name for file in files.files if file.layer is not None)


def _unique(findings: list[Finding]) -> Iterator[Finding]:
    return iter(dict.fromkeys(findings))
