"""The machine's record of kernel settings, which all its nodes write."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from binderops.errors import NetworkError
from binderops.node.files import locked
from binderops.node.network.sysctls import SysctlRecord

pytestmark = pytest.mark.root

KEYS = ("accept_local", "accept_redirects", "arp_filter", "drop_gratuitous_arp", "log_martians", "proxy_arp")
NAMES = [f"net/ipv4/conf/lo/{key}" for key in KEYS]


def together(path: Path) -> None:
    """Every setting changed by a node of its own, all at once, twenty times."""
    before = {name: Path("/proc/sys", name).read_text().strip() for name in NAMES}
    start = threading.Barrier(len(NAMES))

    def change(name: str) -> None:
        start.wait(20)
        SysctlRecord(path).change({name: "0" if before[name] == "1" else "1"})

    for _ in range(20):
        with ThreadPoolExecutor(len(NAMES)) as pool:
            list(pool.map(change, NAMES))
        assert json.loads(path.read_text()) == before
        SysctlRecord(path).restore()
        assert {name: Path("/proc/sys", name).read_text().strip() for name in NAMES} == before


def test_nodes_that_start_together_lose_no_setting(tmp_path: Path) -> None:
    program = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[3])!r}); from pathlib import Path; "
    program += (
        f"from tests.node.network.test_network_sysctls import together; together(Path({str(tmp_path)!r}, 'r.json'))"
    )
    ended = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert not list(tmp_path.iterdir())


def test_nothing_is_put_back_that_is_needed_by_then(tmp_path: Path) -> None:
    """A node that starts while the last other one goes: whoever is second looks once it has the record."""
    path = tmp_path / "record.json"
    path.write_text(json.dumps({NAMES[0]: "what no kernel takes"}))
    assert SysctlRecord(path).restore(unless=lambda: True) == {}
    assert path.exists()


def test_a_record_that_another_process_holds_is_named(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(NetworkError, match="another process"):
        SysctlRecord(tmp_path / "record.json", seconds=0.1).restore()
