"""An engine of one's own: its places, and the configuration files that keep it apart from the machine's Podman."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from binderops.errors import MachineError
from binderops.podman.hooks import hook_folders, write_hooks, write_program
from binderops.podman.machine import CgroupMode, cgroup_mode, default_ulimits, oci_runtime, proxy_environment
from binderops.podman.runtime import runc_script
from binderops.seccomp import SYSTEM_PROFILE, write_profile


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """Where an engine keeps things, and what the machine lets it use.

    `folder` is durable (images, containers, configuration), `run` lasts until the machine's next start (socket, locks,
    exit codes, the mount namespace), `temporary` holds build caches and downloads (Podman's TMPDIR).
    """

    folder: Path
    run: Path
    temporary: Path
    storage: Path
    image_stores: tuple[Path, ...] = ()
    insecure_registries: tuple[str, ...] = ("*.svc",)
    """Registries of plain http: the Services of this machine, which TLS would add nothing to."""
    shared_folders: tuple[Path, ...] = ()
    """Folders whose later mounts (network namespaces, memory volumes) the engine must see."""
    runtime: str
    cgroups: CgroupMode
    ulimits: tuple[str, ...]
    program: Path
    environment_of_caller: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of_machine(
        cls,
        folder: Path,
        *,
        run: Path,
        temporary: Path | None = None,
        storage: Path | None = None,
        image_stores: tuple[Path, ...] = (),
        shared_folders: tuple[Path, ...] = (),
    ) -> EngineSettings:
        """Settings that work on this machine; MachineError if Podman or a runtime for it is missing."""
        program = shutil.which("podman")
        if program is None:
            raise MachineError("Podman is not installed", hint="apt-get install podman")
        mode = cgroup_mode()
        return cls(
            folder=folder,
            run=run,
            temporary=temporary or folder / "tmp",
            storage=storage or folder / "storage",
            image_stores=image_stores,
            shared_folders=shared_folders,
            runtime=oci_runtime(mode),
            cgroups=mode,
            ulimits=tuple(default_ulimits()),
            program=Path(program),
            environment_of_caller=proxy_environment(),
        )

    @property
    def configuration(self) -> Path:
        """The folder of the rendered files."""
        return self.folder / "conf"

    @property
    def seccomp(self) -> Path:
        """The system calls of containers that do not say otherwise."""
        return self.configuration / "seccomp.json"

    @property
    def socket(self) -> Path:
        """Where the service listens."""
        return self.run / "podman.sock"

    @property
    def hosts(self) -> Path:
        """The engine's own /etc/hosts; rewrite it in place (it is bind-mounted: a new file would not be seen)."""
        return self.folder / "hosts"

    @property
    def pid_file(self) -> Path:
        """The service's process id."""
        return self.run / "podman.pid"

    @property
    def log(self) -> Path:
        """What the service says."""
        return self.folder / "podman.log"

    @property
    def namespace(self) -> Path:
        """The pinned mount namespace: a restarted service, and every conmon, see the same mounts."""
        return self.run / "ns" / "mnt"

    def environment(self) -> dict[str, str]:
        """The whole environment of the service, and of a `podman` program that is to use the same engine."""
        inherited = {name: os.environ[name] for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "LANG") if name in os.environ}
        return {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            **inherited,
            **self.environment_of_caller,
            # containers/image looks for its policy below HOME and has no variable for it.
            "HOME": str(self.configuration / "home"),
            "TMPDIR": str(self.temporary),
            "CONTAINERS_CONF": str(self.configuration / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self.configuration / "storage.conf"),
            "CONTAINERS_REGISTRIES_CONF": str(self.configuration / "registries.conf"),
            "REGISTRY_AUTH_FILE": str(self.configuration / "auth.json"),
        }

    def write(self) -> bool:
        """Make the folders and render the files; whether a file changed that a running service has read."""
        for folder in (self.folder, self.run, self.temporary, self.storage, self.configuration, self.run / "exits"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        home = self.configuration / "home" / ".config" / "containers"
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        files = {
            self.configuration / "containers.conf": self.containers_conf(),
            self.configuration / "storage.conf": self.storage_conf(),
            self.configuration / "registries.conf": self.registries_conf(),
            self.configuration / "auth.json": "{}\n",
            home / "policy.json": json.dumps({"default": [{"type": "insecureAcceptAnything"}]}) + "\n",
        }
        changed = {path: text for path, text in files.items() if not path.exists() or path.read_text() != text}
        for path, text in changed.items():
            path.write_text(text)
        self._write_runtime()
        write_hooks(self.configuration)
        write_profile(self.seccomp)  # read for each container that is made
        if not self.hosts.exists():
            self.hosts.write_text(hosts_text({}))
        return bool(changed)

    def _write_runtime(self) -> None:
        """The program that stands for runc. A running service starts it by its path: it need not be started again."""
        if self.runtime == "runc":
            write_program(self.configuration / "runc", runc_script(self.run))

    def containers_conf(self) -> str:
        """containers.conf(5). File locks, since shared-memory locks are one table for all engines of a machine."""
        return _toml(
            {
                "containers": {
                    "default_ulimits": list(self.ulimits),
                    "http_proxy": False,
                    "log_driver": "k8s-file",
                    "netns": "none",
                    "pids_limit": 0,
                    **({"seccomp_profile": str(self.seccomp)} if SYSTEM_PROFILE.is_file() else {}),
                },
                "network": {"network_backend": "netavark", "network_config_dir": str(self.folder / "networks")},
                "engine": {
                    "runtime": self.runtime,
                    "hooks_dir": hook_folders(self.configuration),
                    "cgroup_manager": "cgroupfs",
                    "events_logger": "file",
                    # Two conmon processes stay this long (s) after each exec; the default of 300 lets probes pile up.
                    "exit_command_delay": 5,
                    "lock_type": "file",
                    "static_dir": str(self.storage / "libpod"),
                    "tmp_dir": str(self.run / "libpod"),
                    "volume_path": str(self.storage / "volumes"),
                },
                "engine.runtimes": {"runc": [str(self.configuration / "runc")]} if self.runtime == "runc" else {},
            }
        )

    def storage_conf(self) -> str:
        """containers-storage.conf(5). A store that does not exist (yet) would stop the engine from starting."""
        stores = [str(store) for store in self.image_stores if store.is_dir()]
        return _toml(
            {
                "storage": {"driver": "overlay", "graphroot": str(self.storage), "runroot": str(self.run / "storage")},
                "storage.options": {"additionalimagestores": stores},
            }
        )

    def registries_conf(self) -> str:
        """containers-registries.conf(5): a bare name is Docker Hub's, as it is on a cluster."""
        text = _toml({"": {"unqualified-search-registries": ["docker.io"], "short-name-mode": "disabled"}})
        for prefix in self.insecure_registries:
            key = "prefix" if prefix.startswith("*.") else "location"
            text += f"\n[[registry]]\n{key} = {json.dumps(prefix)}\ninsecure = true\n"
        return text


def hosts_text(names: dict[str, str]) -> str:
    """The text of an /etc/hosts with `names` (host name to address) beside the machine's own loopback and name."""
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback", f"127.0.1.1 {os.uname().nodename}"]
    lines += [f"{address} {name}" for name, address in sorted(names.items())]
    return "\n".join(lines) + "\n"


def _toml(tables: dict[str, dict[str, object]]) -> str:
    """TOML of flat tables; JSON's strings, lists and booleans are TOML's too."""
    parts = []
    for name, table in tables.items():
        head = f"[{name}]\n" if name else ""
        parts.append(head + "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items()))
    return "\n".join(parts)
