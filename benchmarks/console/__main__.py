"""`python -m benchmarks.console`: measure, and print the figures."""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.console.asking import pages, unaffected
from benchmarks.console.fill import fill
from benchmarks.console.stack import api, valkey
from benchmarks.console.watching import watch, watchers
from preble.config import Settings
from preble.serve.network import claim_port


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description="Time the console's pages, and what they cost.")
    parser.add_argument("--jobs", type=int, default=1_000_000, help="In history.")
    parser.add_argument("--instances", type=int, default=64)
    parser.add_argument("--blocks", type=int, default=256_000, help="Cached, of all instances.")
    parser.add_argument("--watch", metavar="URL", help="Do nothing but look at all pages there.")
    asked = parser.parse_args()
    if asked.watch:
        asyncio.run(watch(asked.watch))
        return 0
    figures = asyncio.run(_measure(asked.jobs, asked.instances, asked.blocks))
    print(json.dumps(figures, indent=1))  # noqa: T201  # what it is for
    return 0


async def _measure(jobs: int, instances: int, blocks: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory(prefix="preble-bench-") as name:
        folder = Path(name)
        async with valkey(folder) as url:
            settings = Settings(
                redis_url=url, engine="noop", port=claim_port("127.0.0.1", 0),
                files_dir=str(folder / "files"), result_ttl_s=7 * 86_400, max_jobs=2 * jobs,
            )  # fmt: skip
            began_s = time.monotonic()
            await fill(settings, jobs, instances, blocks)
            filled_s = time.monotonic() - began_s
            async with api(settings) as client:
                pages_ms = await pages(client, settings, jobs)
                async with watchers(str(client.base_url)) as browsers:
                    over_the_api = await unaffected(client, settings, jobs, browsers)
    return {
        "jobs": jobs, "instances": instances, "blocks": blocks, "filled_s": round(filled_s),
        "pages_ms": pages_ms, "a_job_over_the_api": over_the_api,
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
