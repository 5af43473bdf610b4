"""This machine's store of trusted CAs: one file for each environment's local CA, and the bundle that is made of them.

Debian's: files below /usr/local/share/ca-certificates, gathered by update-ca-certificates(8).
"""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass
from pathlib import Path

from binderops.errors import MachineError
from binderops.images.machine import OWN_AUTHORITIES

_PROGRAM = "update-ca-certificates"
_DEADLINE = 60.0  # seconds; a slow disk and some 150 certificates


@dataclass(frozen=True)
class TrustStore:
    """The store below `root` ("/": this machine's own)."""

    root: Path = Path("/")

    @property
    def bundle(self) -> Path:
        """What programs read."""
        return self.root / "etc/ssl/certs/ca-certificates.crt"

    def file(self, environment: str) -> Path:
        """Where an environment's CA lies while it is trusted."""
        return self.root / "usr/local/share/ca-certificates" / f"{OWN_AUTHORITIES}{environment}.crt"

    async def install(self, environment: str, pem: str) -> bool:
        """Trust a CA; whether anything changed. Raises MachineError where this machine does not take it."""
        path = self.file(environment)
        if self._holds(path, pem):
            return False
        self._examine()
        try:
            self._unlink(path)  # of a CA before this one: its links by hash are no longer right
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(pem, encoding="ascii")
            path.chmod(0o644)
        except OSError as error:
            raise self._not_writable(path, error) from None
        await self._update()
        if not self._holds(path, pem):
            raise MachineError("the local CA is not in this machine's bundle", where=str(self.bundle))
        return True

    async def remove(self, environment: str) -> bool:
        """Trust it no longer; whether it was trusted before."""
        path = self.file(environment)
        if not path.exists():
            return False
        self._examine()
        try:
            self._unlink(path)
        except OSError as error:
            raise self._not_writable(path, error) from None
        await self._update()
        return True

    def _unlink(self, path: Path) -> None:
        """A CA's file and the links to it, of which update-ca-certificates clears none but with all others."""
        linked = {str(path), path.with_suffix(".pem").name}
        for link in self.bundle.parent.iterdir():
            if link.is_symlink() and str(link.readlink()) in linked:
                link.unlink()
        path.unlink(missing_ok=True)

    def _holds(self, path: Path, pem: str) -> bool:
        try:
            return path.read_text(encoding="ascii") == pem and pem.strip() in self.bundle.read_text(errors="replace")
        except OSError:
            return False

    def _examine(self) -> None:
        if shutil.which(_PROGRAM) is None:
            raise MachineError(
                "this machine's store of CAs is not one that is known here",
                why=f"there is no {_PROGRAM}",
                hint="print the CA (without --install), and add it as this system's own documentation says",
            )

    async def _update(self) -> None:
        """Make the bundle anew, in one step for whoever reads it."""
        elsewhere: list[str] = []
        if self.root != Path("/"):
            elsewhere = ["--localcertsdir", str(self.file("x").parent), "--etccertsdir", str(self.bundle.parent)]
            elsewhere += ["--certsdir", str(self.root / "usr/share/ca-certificates")]
            elsewhere += ["--certsconf", str(self.root / "etc/ca-certificates.conf")]
            elsewhere += ["--hooksdir", str(self.root / "etc/ca-certificates/update.d")]
        process = await asyncio.create_subprocess_exec(
            _PROGRAM, *elsewhere, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        try:
            async with asyncio.timeout(_DEADLINE):
                told, _ = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise MachineError(f"{_PROGRAM} did not end within {_DEADLINE:.0f} s", where=str(self.bundle)) from None
        if process.returncode != 0:
            why = told.decode(errors="replace").strip()[-500:]
            raise MachineError(f"{_PROGRAM} failed ({process.returncode})", where=str(self.bundle), why=why)

    def _not_writable(self, path: Path, error: OSError) -> MachineError:
        return MachineError(
            "the machine's store of CAs cannot be changed", where=str(path), why=error.strerror, hint="run it with sudo"
        )
