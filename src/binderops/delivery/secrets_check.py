"""`secrets check`: everything that can be said about the secrets of all environments, with the keys at hand."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
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
    covered_digest,
    is_current,
    last_verdict,
    write_verdict,
)
from binderops.errors import BinderOpsError, SecretsError
from binderops.secrets.formats import is_secret_path
from binderops.secrets.places import name_of, owned_files
from binderops.secrets.sharing import refresh_digests, update_key_readers
from binderops.state.chart import chart_folders, pack_chart
from binderops.state.deployment import load_deployment
from binderops.state.documents import Document, read_document
from binderops.state.layers import expand, shown
from binderops.state.project import Project
from binderops.state.values import leaves


def check_secrets(root: Path, project: Project, *, now: datetime, whole_history: bool = False) -> CheckResult:
    """Opens what can be opened, brings digests up to date, and reports. Slow digests are counted anew each time."""
    began = time.monotonic()
    on_this_machine = {name: found.target.node is not None for name, found in project.environments.items()}
    files = read_secret_files(root, on_this_machine)
    with suppress(SecretsError):  # who cannot open the key of the digests lets nobody in
        update_key_readers(root)
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
            covers=covered_digest(root, project),
            findings=tuple(finding.id for finding in findings),
            # What history was found to hold is told again until it is rotated.
            commit=since if any(one.id == "secrets.history" for one in findings) else newest_commit(root),
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


def refuse_shared(root: Path, project: Project, environment: str, *, now: datetime) -> str:
    """Before a deploy: raises SecretsError where a credential of `environment` stands elsewhere, or in clear.

    The last verdict counts while all that it is about is unchanged, and where it could open what is deployed now; else
    the check runs. Answers with words about it.
    """
    verdict = last_verdict(root)
    if verdict is not None and _counts(root, project, environment, verdict):
        return f"no credential is shared, or stands in clear (checked at {verdict.time:%Y-%m-%dT%H:%M:%SZ})"
    result = check_secrets(root, project, now=now)
    stops = [one for one in result.findings if one.id in STOPS_A_DEPLOY]
    if not stops:
        return "no credential is shared, or stands in clear"
    first = stops[0]
    more = f" (and {len(stops) - 1} more)" if len(stops) > 1 else ""
    raise SecretsError(
        f"{environment} is not deployed: {first.what}{more}",
        where=first.where,
        why=f"{first.why} ({first.id})",
        hint=f"{first.hint}; `binderops secrets check` shows all",
    )


def _counts(root: Path, project: Project, environment: str, verdict: Verdict) -> bool:
    own = {name_of(root, path) for path in owned_files(root, environment)}
    return (
        not STOPS_A_DEPLOY & set(verdict.findings) and own <= set(verdict.opened) and is_current(root, project, verdict)
    )


STOPS_A_DEPLOY = frozenset(
    {
        "secrets.shared",
        "secrets.clear",
        "secrets.object",
        "secrets.history",
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
        for release in (*deployment.before, deployment.main):
            yield from clear_objects(release.objects, files)
    except BinderOpsError as error:
        yield Finding("secrets.render", f"{name} does not render", error.where or name, error.why or error.what)


def _clear_leaves(root: Path, project: Project, name: str) -> Iterator[ClearLeaf]:
    """Every value in clear that makes up an environment, those of the releases that come before it too."""
    environment = project.environment(name)
    releases = [(project.chart, environment.layers), *((one.chart, one.layers) for one in environment.before)]
    documents: list[Document] = []
    for chart, patterns in releases:
        clear = [path for one in patterns if not is_secret_path(one) for path in expand(root, one, owner=name)]
        documents += [
            read_document(path, name=shown(root, path)) for path in clear if not is_secret_path(shown(root, path))
        ]
        documents += _defaults(root, chart)
    for document in documents:
        for path, value in leaves(document.values):
            yield ClearLeaf(path, value, document.place(path))


def _defaults(root: Path, chart: str) -> Iterator[Document]:
    """values.yaml of a chart, and of the charts maintained here that it depends on."""
    for folder in chart_folders(root, chart):
        path = folder / "values.yaml"
        if path.is_file():
            yield read_document(path, name=name_of(root, path))


def _opened(files: SecretFiles) -> tuple[str, ...]:
    return tuple(file.name for file in files.files if file.layer is not None)


def _unique(findings: list[Finding]) -> Iterator[Finding]:
    return iter(dict.fromkeys(findings))
