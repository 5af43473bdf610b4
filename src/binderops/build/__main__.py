"""`python -m binderops.build ARGS`: see `binderops.build.main`."""

import sys

from binderops.build.leaving import leave_environment

if __name__ == "__main__":
    leave_environment()
    # Only now: whatever else is imported is imported once.
    from binderops.build.main import main

    sys.exit(main(sys.argv[1:]))
