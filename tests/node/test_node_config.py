from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from binderops.errors import MachineError, StateError, UsageError
from binderops.node.arguments import parse
from binderops.node.config import DEFAULT_IMAGE_BUDGET, NodeConfig, load_config, read_config
from binderops.node.ranges import choose_ranges, parse_proc_routes, parse_routes


def test_first_start_chooses_ranges_and_the_second_keeps_them(tmp_path: Path) -> None:
    first = load_config("local", state_root=tmp_path, run_root=tmp_path / "run", api_port=7443)
    second = load_config("local", state_root=tmp_path, run_root=tmp_path / "run")
    assert first == second
    assert second.api_port == 7443
    assert second.run == tmp_path / "run" / "local"
    assert second.image_stores == (tmp_path / "images" / "storage",)
    assert read_config("local", state_root=tmp_path, run_root=tmp_path / "run") == first


def test_who_only_reads_settings_writes_none(tmp_path: Path) -> None:
    config = load_config("local", state_root=tmp_path)
    path = config.state / "node.yaml"
    path.write_text(path.read_text() + "# told by a start that was a moment later\n")
    before = path.read_bytes()
    assert read_config("local", state_root=tmp_path) == config
    assert path.read_bytes() == before
    load_config("local", state_root=tmp_path)
    assert path.read_bytes() != before, "a start writes them as it understood them"


def test_nodes_that_start_for_the_first_time_together_have_ranges_apart(tmp_path: Path) -> None:
    names = [f"n{number}" for number in range(8)]
    together = threading.Barrier(len(names))

    def start(name: str) -> NodeConfig:
        together.wait(20)
        return load_config(name, state_root=tmp_path)

    with ThreadPoolExecutor(len(names)) as pool:
        nodes = list(pool.map(start, names))
    assert len({text for node in nodes for text in (node.pod_range, node.service_range)}) == 2 * len(names)


def test_the_budget_of_images_is_what_the_command_line_says(tmp_path: Path) -> None:
    def started(*words: str) -> int:
        options = parse(["--name", "local", *words])
        return load_config("local", state_root=tmp_path, image_budget=options.image_budget).image_budget

    assert started("--image-budget", "2Gi") == 2 << 30
    assert read_config("local", state_root=tmp_path).image_budget == 2 << 30
    assert started() == DEFAULT_IMAGE_BUDGET
    with pytest.raises(SystemExit):
        started("--image-budget", "much")


def test_two_nodes_on_one_machine_have_ranges_apart(tmp_path: Path) -> None:
    nodes = [load_config(name, state_root=tmp_path) for name in ("staging", "prod", "local")]
    ranges = [IPv4Network(text) for node in nodes for text in (node.pod_range, node.service_range)]
    assert not any(a.overlaps(b) for i, a in enumerate(ranges) for b in ranges[i + 1 :])


def test_addresses_come_out_of_the_service_range(tmp_path: Path) -> None:
    config = load_config("local", state_root=tmp_path, pod_range="10.9.0.0/20", service_range="10.9.16.0/20")
    assert config.bridge == "bo-local"
    assert config.bridge_address == config.dns_address == "10.9.16.1"
    assert config.kubernetes_service_address == "10.9.16.2"
    assert config.admin_kubeconfig == tmp_path / "nodes" / "local" / "kubeconfig"


@pytest.mark.parametrize("name", ["", "Local", "ninechars", "a_b", "-a", "a-", "../x", "a/b", "a\n"])
def test_names_that_cannot_be_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError):
        load_config(name, state_root=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_kept_range_does_not_change(tmp_path: Path) -> None:
    load_config("local", state_root=tmp_path, pod_range="10.9.0.0/20", service_range="10.9.16.0/20")
    with pytest.raises(UsageError, match="stays"):
        load_config("local", state_root=tmp_path, pod_range="10.8.0.0/20")


@pytest.mark.parametrize(
    ("pods", "services"),
    [("10.9.0.0/20", "10.9.0.0/24"), ("10.9.0.1/20", "10.10.0.0/20"), ("10.9.0.0/30", "10.10.0.0/20"), ("x", "y")],
)
def test_ranges_that_cannot_be_are_refused(tmp_path: Path, pods: str, services: str) -> None:
    with pytest.raises(UsageError):
        load_config("local", state_root=tmp_path, pod_range=pods, service_range=services)


@pytest.mark.parametrize("content", ["- a list\n", "name: [", "\x00"])
def test_a_broken_file_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "nodes" / "local" / "node.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(StateError, match=r"node\.yaml"):
        load_config("local", state_root=tmp_path)


def test_no_node_to_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no node"):
        read_config("local", state_root=tmp_path)


def test_config_is_frozen(tmp_path: Path) -> None:
    config = load_config("local", state_root=tmp_path)
    with pytest.raises(AttributeError, match="immutable"):
        config.api_port = 1  # type: ignore[misc]
    assert isinstance(config, NodeConfig)


def test_ranges_avoid_what_is_taken() -> None:
    assert choose_ranges([]) == (IPv4Network("10.77.0.0/20"), IPv4Network("10.77.16.0/20"))
    assert choose_ranges([IPv4Network("10.77.16.7/32")])[0] == IPv4Network("10.77.32.0/20")
    assert choose_ranges([IPv4Network("10.77.0.0/16")])[0] == IPv4Network("10.78.0.0/20")
    assert not choose_ranges([IPv4Network("10.0.0.0/8")])[0].overlaps(IPv4Network("10.0.0.0/8"))
    private = [IPv4Network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")]
    last = choose_ranges([*private[:2], IPv4Network("192.168.0.0/17")])
    assert all(chosen.subnet_of(private[2]) for chosen in last), "policies of charts speak of RFC 1918"
    with pytest.raises(MachineError, match="free"):
        choose_ranges([IPv4Network("0.0.0.0/0")])


def test_routes_are_read() -> None:
    routes: list[dict[str, object]] = [
        {"dst": "default", "dev": "eth0"},
        {"dst": "10.77.0.9", "dev": "veth"},
        {"dst": "10.1.0.0/16", "dev": "eth0"},
        {"dst": "10.2.0.0/16", "dev": "bo-local"},
    ]
    assert [str(n) for n in parse_routes(routes, ignore_device="bo-local")] == ["10.77.0.9/32", "10.1.0.0/16"]
    table = (
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
        "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
    )
    assert [str(n) for n in parse_proc_routes(table)] == ["192.0.2.0/24"]
