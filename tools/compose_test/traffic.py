"""What a client sends through the published port, and what must come back."""

import io
import json
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Final

from openai import OpenAI

from preble.client import Client, Job, JobFields
from preble.messages import JobState
from tools.compose_test.waiting import PROGRESS_EVERY_S, elapsed_s, require, say, wait_until

JOBS_TIMEOUT_S: Final = 900.0

NUM_PREFIXES: Final = 3
JOBS_PER_PREFIX: Final = 8
NUM_JOBS: Final = NUM_PREFIXES * JOBS_PER_PREFIX
OUTPUT_TOKENS: Final = 16
SENTENCES: Final = 24
"""In each shared prefix: enough for several blocks of 64 tokens, by any tokenizer."""


class Traffic:
    """A client of one api.

    Args:
        url: Of the api.
        api_key: Its key.
    """

    def __init__(self, url: str, api_key: str) -> None:
        self._url = url
        self._api_key = api_key

    def submit(self) -> list[str]:
        """Ids of new jobs, accepted."""
        with self._client() as client:
            return client.submit(make_jobs())

    def wait(
        self, ids: Sequence[str], on_progress: Callable[[int], None] | None = None
    ) -> list[Job]:
        """The same jobs, ended. Raises: CheckFailed if one has not completed."""
        shown_s = elapsed_s()

        def show(num_ended: int) -> None:
            nonlocal shown_s
            if on_progress:
                on_progress(num_ended)
            if elapsed_s() - shown_s >= PROGRESS_EVERY_S:
                shown_s = elapsed_s()
                say(f"{num_ended} of {len(ids)} jobs ended")

        with self._client() as client:
            jobs = client.wait(ids, timeout_s=JOBS_TIMEOUT_S, on_progress=show)
        check(jobs)
        return jobs

    def run_batch(self) -> str:
        """Have a batch answered, by OpenAI's client. Returns what it came to.

        Raises:
            CheckFailed: If a line is missing, is there twice, or failed.
        """
        # It trusts the environment's proxies, which are not for this machine.
        with OpenAI(base_url=f"{self._url}/v1", api_key=self._api_key) as client:
            lines = batch_lines(client.models.list().data[0].id)
            file = client.files.create(file=("in.jsonl", io.BytesIO(lines)), purpose="batch")
            batch = client.batches.create(
                input_file_id=file.id, endpoint="/v1/completions", completion_window="24h"
            )
            wait_until(
                lambda: client.batches.retrieve(batch.id).status in {"completed", "failed"},
                "the batch ends", JOBS_TIMEOUT_S,
                lambda: f"batch: {client.batches.retrieve(batch.id).request_counts}",
            )  # fmt: skip
            ended = client.batches.retrieve(batch.id)
            require(ended.status == "completed", f"the batch is {ended.status}: {ended.errors}")
            output = client.files.content(ended.output_file_id or "").text
        answered = Counter(json.loads(line)["custom_id"] for line in output.splitlines())
        require(answered == Counter(map(str, range(NUM_JOBS))), f"lines answered: {answered}")
        counts = ended.request_counts
        told = (counts.total, counts.completed, counts.failed) if counts else None
        require(told == (NUM_JOBS, NUM_JOBS, 0), f"the batch counts {told}")
        return f"{NUM_JOBS} lines answered once each"

    @contextmanager
    def load(self) -> Generator["Load"]:
        """Have jobs answered all the while, round after round; the last one is waited for.

        Raises:
            CheckFailed: If one has not completed.
        """
        load = Load(self)
        with ThreadPoolExecutor(1) as executor:
            done = executor.submit(load.run)
            try:
                yield load
            finally:
                load.stop()
            done.result()

    def _client(self) -> Client:
        return Client(self._url, api_key=self._api_key)


class Load:
    """Jobs that follow each other until somebody stops them.

    Attributes:
        ended: All of the rounds that are over.
        runs: Set once the first job has ended, others being open.
    """

    def __init__(self, traffic: Traffic) -> None:
        self.ended: list[Job] = []
        self.runs = Event()
        self._traffic = traffic
        self._stopped = Event()

    def stop(self) -> None:
        """Begin no other round."""
        self._stopped.set()

    def run(self) -> None:
        """Raises: CheckFailed, PrebleError."""
        try:
            while not self._stopped.is_set():
                self.ended += self._traffic.wait(self._traffic.submit(), self._note)
        finally:
            self.runs.set()  # whoever waits for it is to see the failure

    def _note(self, num_ended: int) -> None:
        if num_ended:
            self.runs.set()


def make_jobs() -> list[JobFields]:
    """Short questions behind a few long prefixes, in turn."""
    sampling = {"max_new_tokens": OUTPUT_TOKENS, "temperature": 0, "ignore_eos": True}
    return [{"prompt": prompt, "sampling_params": sampling} for prompt in make_prompts()]


def make_prompts() -> list[str]:
    """Their prompts."""
    prefixes = [
        " ".join(
            f"Rule {number} of house {house}: keep shelf {number * 7 % 31} tidy."
            for number in range(SENTENCES)
        )
        for house in range(NUM_PREFIXES)
    ]
    return [
        f"{prefix} Shelf {question} is"
        for question in range(JOBS_PER_PREFIX)
        for prefix in prefixes
    ]


def batch_lines(model: str) -> bytes:
    """The same as lines of a batch."""
    lines = [
        {
            "custom_id": str(number), "method": "POST", "url": "/v1/completions",
            "body": {"model": model, "prompt": prompt, "max_tokens": OUTPUT_TOKENS},
        }
        for number, prompt in enumerate(make_prompts())
    ]  # fmt: skip
    return "\n".join(map(json.dumps, lines)).encode()


def check(jobs: Sequence[Job]) -> None:
    """Raises: CheckFailed, naming what does not hold."""
    failed = [job for job in jobs if job.status is not JobState.COMPLETED]
    require(not failed, f"{len(failed)} jobs failed, the first with {failed and failed[0].error}")
    require(len({job.id for job in jobs}) == NUM_JOBS, "a job is missing")
    require(all(job.result and job.result.text.strip() for job in jobs), "a text is empty")


def check_placement(jobs: Sequence[Job], num_instances: int) -> None:
    """Raises: CheckFailed if an instance idled, or none found anything in its cache."""
    require(len({job.instance for job in jobs}) == num_instances, "one instance got no job")
    hits = sum(job.result.usage.cached_tokens for job in jobs if job.result)
    require(hits > 0, "no engine took any prompt token from its KV cache")


def show_figures(jobs: Sequence[Job], wall_s: float) -> None:
    """What the jobs came to."""
    usages = [job.result.usage for job in jobs if job.result]
    predicted = sum(job.assignment.predicted_hit_tokens for job in jobs if job.assignment)
    say(
        f"{len(usages)} of {len(jobs)} jobs completed in {wall_s:.1f} s; "
        f"{sum(usage.completion_tokens for usage in usages)} output tokens; "
        f"{sum(usage.prompt_tokens for usage in usages)} prompt tokens, of which hits: "
        f"{predicted} predicted, {sum(usage.cached_tokens for usage in usages)} delivered"
    )
    per_instance = Counter(job.instance or "none" for job in jobs)
    say("jobs on each instance: " + ", ".join(f"{i} {n}" for i, n in sorted(per_instance.items())))
    if jobs and jobs[0].result:
        say(f"first text: {jobs[0].result.text!r}")


def begun_again(jobs: Sequence[Job]) -> int:
    """How many an engine was given more than once."""
    return sum(job.attempt > 1 for job in jobs)
