"""What makes a KubeSpawner launch for a Binder: the image and a token come with each launch, and no login is asked.

Mixed before a container spawner (`class BinderSpawner(BinderSpawnerMixin, KubeSpawner)`), as the chart's extraConfig
does. Names, traits and arguments are BinderHub's own, which configurations of its operators rely on.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from tornado.web import HTTPError
from traitlets import Bool, Unicode
from traitlets.config import Configurable

# Keys of a launch's options that the server finds in its environment, in capitals.
LAUNCH_OPTIONS = (
    "binder_ref_url",
    "binder_launch_host",
    "binder_persistent_request",
    "binder_request",
    "binder_client_ip",
)


class BinderSpawnerMixin(Configurable):  # type: ignore[misc]  # traitlets has no types
    """Launches the image that the binder names, with a plain Jupyter server behind the launch's own token."""

    auth_enabled = Bool(
        False,
        help="Users log in to the hub: servers then run jupyterhub-singleuser, which asks the hub who comes.",
        config=True,
    )

    cors_allow_origin = Unicode(
        "",
        help="Value of the header Access-Control-Allow-Origin of users' servers; '' leaves it out.",
        config=True,
    )

    def start(self) -> Awaitable[Any]:
        """Start the server from `user_options`; 400 where an anonymous launch lacks its token or image."""
        if not self.auth_enabled:
            for option in ("token", "image"):
                if not self.user_options.get(option):
                    raise HTTPError(400, f"{option} required")
        if self.user_options.get("image"):
            self.image = self.user_options["image"]
        started: Awaitable[Any] = super().start()
        return started

    def get_args(self) -> list[str]:
        """The server's arguments, each also as --ServerApp.X: each generation of Jupyter reads one."""
        if self.auth_enabled:
            inherited: list[str] = super().get_args()
            return inherited
        options = [
            f"base_url={self.server.base_url}",
            "trust_xheaders=True",
        ]
        if self.default_url:
            options.append(f"default_url={self.default_url}")
        if self.cors_allow_origin:
            options.append(f"allow_origin={self.cors_allow_origin}")
            if self.cors_allow_origin == "*":
                # Jupyter compares Origin with allow_origin as text for its websockets: "*" alone would refuse them.
                options.append("allow_origin_pat=.*")
        args = ["--ip=0.0.0.0", f"--port={self.port}", *(f"--NotebookApp.{option}" for option in options), *self.args]
        prefix = "--NotebookApp."
        return args + [f"--ServerApp.{arg.removeprefix(prefix)}" for arg in args if arg.startswith(prefix)]

    def get_env(self) -> dict[str, str]:
        """The spawner's environment, and what was launched, from where: BINDER_REPO_URL, BINDER_REF_URL, …

        The launch's token too, which every Jupyter server reads from JUPYTER_TOKEN: command lines are shown to
        everybody on the machine.
        """
        env: dict[str, str] = super().get_env()
        if not self.auth_enabled and self.user_options.get("token"):
            env["JUPYTER_TOKEN"] = self.user_options["token"]
        if "repo_url" in self.user_options:
            env["BINDER_REPO_URL"] = self.user_options["repo_url"]
        env.update({key.upper(): self.user_options[key] for key in LAUNCH_OPTIONS if key in self.user_options})
        return env
