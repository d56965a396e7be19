"""Submit many jobs and take them as they end: `python examples/submit_batch.py [URL]`."""

import sys

from preble import Client
from preble.client import Job
from preble.demo.prompts import load_prompts


def main() -> None:
    """Send the demo's prompts and sum up what came of them."""
    url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000"
    jobs = [prompt.job for prompt in load_prompts()]
    prompt_tokens = cached_tokens = completed = 0
    with Client(url) as client:
        for number, (_, outcome) in enumerate(client.map(jobs), 1):
            if isinstance(outcome, Job) and outcome.result:
                completed += 1
                prompt_tokens += outcome.result.usage.prompt_tokens
                cached_tokens += outcome.result.usage.cached_tokens
            print(f"{number} of {len(jobs)} ended")
    print(f"{completed} completed; {cached_tokens:,} of {prompt_tokens:,} prompt tokens cached")


if __name__ == "__main__":
    main()
