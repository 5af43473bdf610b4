"""`python -m binderops.build ARGS`: see `binderops.build.main`."""

import sys

from binderops.build.main import main

sys.exit(main(sys.argv[1:]))
