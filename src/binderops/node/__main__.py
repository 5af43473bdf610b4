"""`python -m binderops.node`."""

from __future__ import annotations

import sys

# Loaded by structlog, httpx and httpcore where they are found, for colours and HTTP/2, which nothing here uses:
# 6 MB of a process that has 110. An entry of None makes an import fail as if it were not installed.
for _unused in ("rich", "pygments", "h2"):
    sys.modules.setdefault(_unused, None)  # type: ignore[arg-type]

from binderops.node.main import main  # noqa: E402

sys.exit(main())
