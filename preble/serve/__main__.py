"""`python -m preble.serve`: as `preble serve`, told by `PREBLE_*` variables alone."""

import os
import sys

from preble.config import ENV_PREFIX, load_settings
from preble.errors import ConfigError, PrebleError
from preble.serve import serve


def main() -> int:
    """Run until stopped. Returns the exit status."""
    try:
        embedded = f"{ENV_PREFIX}REDIS_URL" not in os.environ
        serve(load_settings(os.environ), embedded=embedded)
    except PrebleError as error:
        print(f"preble: {error}", file=sys.stderr)  # noqa: T201 - the process's last word
        return 2 if isinstance(error, ConfigError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
