"""Staging and prod side by side on one machine: a broken line, its way back, its mending; neither touches the other.

Every command of these journeys is searched for the values of the sealed files (`pairs.Pair.run`).
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from tests.e2e.canaries import Canaries
from tests.e2e.pairs import (
    NODES,
    STATE,
    Counting,
    Pair,
    make_repository,
    reached,
    reached_from,
    without_guards,
)

from binderops.delivery.ledger import LABEL
from binderops.kube.client import Client
from binderops.kube.kinds import CONFIG_MAP, POD, SERVICE
from binderops.secrets.identities import new_identity

pytestmark = [pytest.mark.e2e, pytest.mark.podman, pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(2400)]

# Images get a name in a registry that nobody resolves: everything renders and gets ready, and no launch works.
BROKEN = (
    "  config:\n    BinderHub:\n",
    '  config:\n    BinderHub:\n      image_prefix: "registry.invalid:5000/r2d-"\n',
)
MENDED = ("      timeout: 600\n", "      timeout: 660\n")
# The badges' server gets an image that is on no machine; its Ingress a host that no API takes.
_IMAGE = '\nstatic:\n  enabled: true\n  nodeSelector: {}\n  image: {name: "", tag: "", pullPolicy: ""'
NOT_READY = (
    _IMAGE,
    _IMAGE.replace('name: "", tag: "", pullPolicy: ""', "name: localhost/none, tag: x, pullPolicy: Never"),
)
NOT_BROUGHT = ("    hosts: []  # none: static.DOMAIN\n", '    hosts: ["no host!"]\n')


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both up: staging first, then prod, which takes what staging proved."""
    if os.geteuid() != 0:
        pytest.fail("these tests need root: sudo make e2e")
    found = Pair(make_repository(tmp_path_factory.mktemp("pair")), Canaries())
    found.canaries.read(found.root)
    for environment in ("staging", "prod"):  # a run that was killed, or that kept them
        if found.kubeconfig(environment).parent.exists():
            assert found.run("purge", environment).returncode == 0
    try:
        early = found.run("up", "prod", timeout=1500)
        assert early.returncode == 1 and "delivery.promotion" in early.stderr, early.stderr
        for environment in ("staging", "prod"):
            done = found.run("up", environment, timeout=1500)
            assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        yield found
    finally:
        for environment in ("staging", "prod"):
            done = found.run("down" if os.environ.get("BINDEROPS_E2E_KEEP") else "purge", environment)
            assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def counting(pair: Pair) -> Iterator[Counting]:
    """A running server of prod's, whose kernel counts over an open websocket from the first test to the last."""
    launched = pair.json("launch", str(pair.root / "examples/hello"), "-e", "prod")
    opened = urlsplit(launched["url"])
    server = f"http://{opened.netloc}{opened.path.removesuffix('lab')}"
    found = Counting(server, parse_qs(opened.query)["token"][0])
    found.goes_on()
    yield found
    found.close()


def test_a_broken_line_stops_at_staging_and_prod_never_notices(pair: Pair, counting: Counting, tmp_path: Path) -> None:
    good = pair.json("state", "prod")["common"]
    assert pair.json("state", "staging")["common"] == good

    pair.change(*BROKEN)
    failed = pair.json("deploy", "staging", code=1)["error"]
    assert failed["id"] == "delivery.proof", failed
    newest = pair.json("ledger", "staging")["records"][-1]
    assert (newest["verdict"], newest["action"]) == ("fail", "deploy")
    assert newest["common"] == pair.json("state", "staging")["common"] != good
    counting.goes_on()

    refused = pair.json("deploy", "prod", code=1)["error"]
    assert refused["id"] == "delivery.promotion" and "is a fail at" in refused["why"], refused
    assert pair.json("ledger", "prod")["records"][-1]["common"] == good

    back = replace(pair, root=without_files(pair.root, tmp_path)).json("rollback", "staging")
    assert back["record"]["verdict"] == "pass" and back["record"]["common"] == good
    assert back["back_to"] < back["left"] < back["revision"]
    status = pair.json("status", "staging")["environments"][0]
    assert status["live"] == back["record"]["digest"] != status["wanted"]
    assert status["proven"]["action"] == "rollback"

    pair.change(BROKEN[1], BROKEN[0])
    pair.change(*MENDED)
    assert pair.json("deploy", "staging")["record"]["verdict"] == "pass"
    taken = pair.json("deploy", "prod")
    assert taken["deploy"]["changed"] and taken["record"]["common"] == pair.json("state", "staging")["common"]
    counting.goes_on()


def without_files(root: Path, folder: Path) -> Path:
    """What a rollback reads: binderops.yaml and the folder that the proof launches. No chart, no layer, no git."""
    shutil.copy(root / "binderops.yaml", folder)
    shutil.copytree(root / "examples/hello", folder / "examples/hello")
    return folder


def test_what_does_not_get_ready_or_is_not_brought_is_a_failed_proof(pair: Pair, counting: Counting) -> None:
    for line, error in ((NOT_READY, "delivery.not-ready"), (NOT_BROUGHT, "helm")):
        pair.change(*line)
        common = pair.json("state", "staging")["common"]
        assert pair.json("deploy", "staging", code=1)["error"]["id"] == error
        newest = pair.json("ledger", "staging")["records"][-1]
        assert (newest["verdict"], newest["common"]) == ("fail", common)
        assert newest["error"].endswith(f"({error})") and newest["seconds"]["total"] > 0
        assert pair.json("deploy", "prod", code=1)["error"]["id"] == "delivery.promotion"
        pair.change(*reversed(line))
    assert pair.json("deploy", "staging")["record"]["verdict"] == "pass", "Helm goes on from a release that failed"
    counting.goes_on()


def test_what_is_live_can_be_proven_again(pair: Pair) -> None:
    proven = pair.json("verify", "prod")
    assert proven["record"]["verdict"] == "pass"
    assert set(proven["record"]["seconds"]) == {"pages", "launch", "kernel", "total"}
    environments = {found["environment"]: found for found in pair.json("env")["environments"]}
    assert environments["prod"]["waits_for"] == ["staging"] and environments["prod"]["running"]
    assert environments["local"]["running"] is False


def test_a_pod_reaches_no_address_of_the_other_node(pair: Pair) -> None:
    targets = [(pod["status"]["podIP"], port) for pod in pair.objects("prod", POD) for port in (8000, 8080, 8081, 8585)]
    targets += [
        (service["spec"]["clusterIP"], port["port"])
        for service in pair.objects("prod", SERVICE)
        for port in service["spec"]["ports"]
    ]
    bridge = subprocess.run(
        ["ip", "-j", "-4", "address", "show", "bo-prd"], capture_output=True, check=True, timeout=20
    )
    host = json.loads(bridge.stdout)[0]["addr_info"][0]["local"]
    targets += [(host, 53), (host, NODES["prod"][1]), (host, 10250)]
    namespaces = sorted(path.name for path in Path("/run/netns").iterdir())
    foreign = [name for name in namespaces if name.startswith("bo-stg-")]
    with without_guards():
        opened = reached_from(foreign, targets)
    assert {address for address, _ in targets if address in opened}, "without the guard they are reached"
    assert reached_from(foreign, targets) == set()
    own = [name for name in namespaces if name.startswith("bo-prd-")]
    assert any(reached(name, targets[:4]) for name in own), "the addresses must be good ones"


@pytest.fixture(scope="module")
def owners(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pair]:
    """The repository with secrets of its own: ana reads staging, ben prod. By whose keys are at hand."""
    root = tmp_path_factory.mktemp("owners") / "repository"
    shutil.copytree(pair.root, root, ignore=shutil.ignore_patterns("secret", ".sops.yaml", "keys"))
    found = {}
    for name, environment in (("ana", "staging"), ("ben", "prod")):
        identity, recipient = new_identity()
        found[name] = replace(pair, root=root, key=identity)
        done = found[name].run("secrets", "readers", environment, "--add", recipient, "--name", name)
        assert done.returncode == 0, done.stderr
        assert found[name].json("secrets", "generate", environment)["changed"]
    return {**found, "both": replace(pair, root=root, key=f"{found['ana'].key}\n{found['ben'].key}")}


def test_the_same_token_in_both_is_refused_whoever_deploys(pair: Pair, owners: dict[str, Pair]) -> None:
    token = secrets.token_hex(24)
    pair.canaries.add("the token of both", token)
    for who, environment in (("ana", "staging"), ("ben", "prod")):
        done = owners[who].run("secrets", "set", environment, "binderhub.localToken", give=token)
        assert done.returncode == 0, done.stderr
    for who, environment, other in (
        ("both", "staging", "prod"),
        ("ana", "staging", "prod"),
        ("ben", "prod", "staging"),
    ):
        error = owners[who].json("deploy", environment, code=1)["error"]
        assert error["id"] == "secrets" and error["why"].endswith("(secrets.shared)"), error
        assert error["what"].startswith(f"{environment} is not deployed: binderhub.localToken of "), error
        assert f"secret/config/{environment}.yaml" in error["where"] and other in error["where"] + error["what"]
    assert owners["ana"].json("secrets", "rotate", "staging", "binderhub.localToken")["changed"]


def test_a_cluster_by_a_sealed_kubeconfig(pair: Pair, owners: dict[str, Pair], counting: Counting) -> None:
    ana = owners["ana"]
    name = "secret/staging/kubeconfig.yaml"
    clear = pair.kubeconfig("staging").read_text()
    pair.canaries.add("the kubeconfig's key", yaml.safe_load(clear)["users"][0]["user"]["client-key-data"])
    rules = yaml.safe_load((ana.root / ".sops.yaml").read_text())
    own = next(one for one in rules["creation_rules"] if "staging" in one["path_regex"])
    rules["creation_rules"].append({**own, "path_regex": f"^{name}$"})
    (ana.root / ".sops.yaml").write_text(yaml.safe_dump(rules))
    (ana.root / name).parent.mkdir()
    (ana.root / name).write_text(clear)
    done = ana.run("secrets", "seal", str(ana.root / name))
    assert done.returncode == 0, done.stderr
    # What an operator of a cluster writes down: which images, and what its machines are like.
    shutil.copy(STATE / "images/images.lock.yaml", ana.root)
    shutil.copy(STATE / "environments/staging/generated.yaml", ana.root / "config/machine.yaml")
    project = ana.root / "binderops.yaml"
    node = next(line for line in project.read_text().splitlines() if "name: stg" in line)
    text = project.read_text().replace(node, f"      cluster: {{kubeconfig: {name}}}")
    project.write_text(
        text.replace("layers: [config/staging.yaml", "layers: [config/machine.yaml, config/staging.yaml")
    )

    deployed = ana.json("deploy", "staging")
    assert deployed["deploy"]["changed"] and deployed["record"]["verdict"] == "pass"
    assert pair.json("status", "staging")["environments"][0]["live"] == deployed["record"]["digest"]
    refused = replace(ana, key=owners["ben"].key).json("verify", "staging", code=1)["error"]
    assert "none of your keys opens" in refused["what"], refused
    assert ana.json("kubeconfig", "staging", code=2)["error"]["what"].endswith("is sealed, and stays so")
    counting.goes_on()


def test_no_value_was_left_anywhere(pair: Pair, owners: dict[str, Pair]) -> None:
    assert len(pair.canaries.forms) > 30 and {"sops", "python3"} & pair.canaries.processes, "they were looked for"
    assert pair.canaries.leaks == []
    logs = [node for name, _, _ in NODES.values() if (node := STATE / "nodes" / name / "logs").exists()]
    verdicts = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "binderops"
    folders = [pair.root, owners["ana"].root, STATE / "environments", verdicts]
    assert pair.canaries.found_below(*folders, *logs, Path("/dev/shm")) == []
    assert pair.canaries.found_below(*(path for path in Path("/tmp").glob("binderops-*"))) == []


def test_a_changed_record_is_seen(pair: Pair) -> None:
    async def tamper() -> None:
        async with Client.from_kubeconfig(pair.kubeconfig("staging")) as client:
            found = (await client.list(CONFIG_MAP, "staging", labels=f"{LABEL}=record")).items
            failed = next(obj for obj in found if '"fail"' in obj["data"]["record"])
            await client.delete(CONFIG_MAP, failed["metadata"]["name"], "staging")
            forged = {**failed, "data": {"record": failed["data"]["record"].replace('"fail"', '"pass"')}}
            forged["metadata"] = {key: failed["metadata"][key] for key in ("name", "namespace", "labels")}
            await client.create(forged)

    asyncio.run(tamper())
    told = pair.json("ledger", "staging", code=1)["error"]
    assert told["id"] == "ledger.broken", told
    assert any("ledger.broken" in note for note in pair.json("status", "staging")["environments"][0]["notes"])
    assert pair.json("ledger", "staging", "--begin-anew")["removed"] > 0
    assert pair.json("ledger", "staging")["records"] == []


def test_stopping_and_purging_staging_leaves_prods_server_alone(pair: Pair, counting: Counting) -> None:
    for verb in ("down", "purge"):
        done = pair.run(verb, "staging")
        assert done.returncode == 0, done.stderr
        counting.goes_on()
    assert not (STATE / "nodes" / "stg").exists()
    assert (STATE / "nodes" / "prd").exists()
    assert pair.json("verify", "prod")["record"]["verdict"] == "pass"
