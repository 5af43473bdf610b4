"""The files that nginx reads certificates from: a folder of the proxy's own, one file a pair, named by its content.

A new pair is a new file, so nginx.conf changes, and nginx reloads, exactly when a certificate's content does.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterable
from pathlib import Path

from binderops.ingress.certificates import Pair


class KeyStore:
    """Pairs on disk. The folder should lie on a tmpfs: keys have no business on a disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.keep(())  # of a process before this one

    def put(self, pair: Pair) -> Path:
        """Writes a pair, durably and whole. Raises ValueError where OpenSSL would not serve it, or the disk is full."""
        path = self.folder / f"{pair.digest}.pem"
        if path.exists():
            return path
        partial = path.with_suffix(".partial")
        try:
            _write(partial, pair.pem)
            # The OpenSSL that nginx uses, too: for one pair that it dislikes, nginx refuses its whole configuration.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(partial)
            partial.replace(path)
            _sync_folder(self.folder)
        except ssl.SSLError as error:
            partial.unlink(missing_ok=True)
            raise ValueError(f"OpenSSL refuses it ({error.reason or 'no reason given'})") from None
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise ValueError(f"it could not be written for nginx: {error.strerror}") from None
        return path

    def keep(self, paths: Iterable[Path]) -> None:
        """Removes every file but these."""
        kept = set(paths)
        for path in self.folder.iterdir():
            if path not in kept:
                path.unlink(missing_ok=True)


def _write(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
