"""`python -m preble.serve`: as `preble serve`, without flags."""

import os
import sys

from preble.config import load_configuration
from preble.errors import ConfigError, PrebleError
from preble.serve import serve


def main() -> int:
    """Run until stopped. Returns the exit status."""
    try:
        configuration = load_configuration(os.environ)
        embedded = "redis_url" not in configuration.origins
        serve(configuration.settings, embedded=embedded)
    except PrebleError as error:
        print(f"preble: {error}", file=sys.stderr)  # noqa: T201 - the process's last word
        return 2 if isinstance(error, ConfigError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
