"""`python -m binderops.node`."""

from __future__ import annotations

import sys

from binderops.node.main import main

sys.exit(main())
