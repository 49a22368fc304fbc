"""`python -m ppapi_async`: see `ppapi_async.cli.main`."""

import sys

from ppapi_async.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
