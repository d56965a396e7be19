"""One log format for all processes: UTC time, level, process, message with `key=value`s.

Prompts, outputs and secrets are never logged.
"""

import logging
import sys
import time


def configure_logging(level: str, process: str) -> None:
    """Send this process's log to stderr.

    Args:
        level: `debug`, `info`, `warning` or `error`.
        process: Name shown on each line, such as `scheduler` or `worker gpu0`.
    """
    formatter = logging.Formatter(
        f"%(asctime)s.%(msecs)03dZ %(levelname)s {process}: %(message)s", "%Y-%m-%dT%H:%M:%S"
    )
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("httpx2").setLevel(logging.WARNING)
