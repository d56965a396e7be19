"""Submit many jobs and watch them end: `python examples/submit_batch.py [URL]`."""

import sys

from preble.client import PrebleClient, calls
from preble.demo.prompts import load_prompts


def main() -> None:
    """Send the demo's prompts and sum up what came of them."""
    url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000"
    jobs = [prompt.job for prompt in load_prompts()]
    with PrebleClient(url) as client:
        ids = [job_id for call in calls(jobs) for job_id in client.submit(call)]
        ended = client.wait(ids, on_progress=lambda done: print(f"{done} of {len(ids)} ended"))
    usages = [job.result.usage for job in ended if job.result]
    prompt_tokens = sum(usage.prompt_tokens for usage in usages)
    cached_tokens = sum(usage.cached_tokens for usage in usages)
    print(f"{len(usages)} completed; {cached_tokens:,} of {prompt_tokens:,} prompt tokens cached")


if __name__ == "__main__":
    main()
