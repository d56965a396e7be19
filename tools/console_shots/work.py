"""What the pool of the pictures is given to do: questions on the project's own pages."""

import json
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

from preble.client import Client, JobFields
from preble.client.batches import Batches

DOCS: Final = Path(__file__).resolve().parents[2] / "docs"
PAGES: Final = ("batches", "webhooks", "monitoring", "console")
PAGE_CHARS: Final = 2_000
TENANTS: Final = ("acme", "globex", "default")
QUESTIONS: Final = (
    "What is this page about?", "Which command comes first?", "What must be set?",
    "What happens if a worker dies?", "What is bounded?", "What is refused?",
)  # fmt: skip
ROUNDS: Final = 2
TOO_LONG_TOKENS: Final = 3_000
FAILING_EACH: Final = 40
WITHIN_S: Final = 900.0


class Work(NamedTuple):
    """Ids of what there is to see."""

    job: str
    failed_job: str
    batch: str


def give_work(client: Client) -> Work:
    """Have jobs of all kinds answered, and leave a batch running.

    Raises:
        PrebleError: If a call fails, or not all end in time.
    """
    batches = Batches(client)
    failing = client.submit([_too_long(number) for number in range(3)])
    jobs: list[str] = []
    for _ in range(ROUNDS):  # in the second the first ones' prefixes are cached
        jobs += client.submit(_questions())
        client.wait(jobs, timeout_s=WITHIN_S)
    model = client.models()[0]
    _run(batches, _lines(model, 12))
    client.wait(failing, timeout_s=WITHIN_S)
    running = _run(batches, _lines(model, 240))
    client.submit(_questions())
    return Work(jobs[-1], failing[0], running)


def _questions() -> list[JobFields]:
    return [
        {
            "prompt": f"{_page(page)}\n\nQuestion: {question}\nAnswer:",
            "tenant": TENANTS[number % len(TENANTS)],
            "priority": "high" if number % 5 == 0 else "normal",
            "sampling_params": {"max_new_tokens": 24, "temperature": 0},
        }
        for number, question in enumerate(QUESTIONS)
        for page in PAGES
    ]


def _too_long(number: int) -> JobFields:
    sampling = {"max_new_tokens": TOO_LONG_TOKENS, "ignore_eos": True}
    return {
        "prompt": f"Tell everything, part {number}",
        "tenant": "acme",
        "sampling_params": sampling,
    }


def _lines(model: str, number: int) -> list[dict[str, object]]:
    asked = [(page, question) for question in QUESTIONS for page in PAGES]
    return [
        {
            "custom_id": str(each), "method": "POST", "url": "/v1/completions",
            "body": {
                "model": model, "prompt": f"{_page(page)}\n\n{question} (reader {each})",
                # Some are asked too much, for errors to be seen.
                "max_tokens": 16 if (each + 1) % FAILING_EACH else TOO_LONG_TOKENS,
                "ignore_eos": True,
            },
        }
        for each in range(number)
        for page, question in [asked[each % len(asked)]]
    ]  # fmt: skip


def _run(batches: Batches, lines: list[dict[str, object]]) -> str:
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as file:
        path = Path(file.name)
        path.write_text("\n".join(map(json.dumps, lines)))
        made = {"input_file_id": batches.upload(path, "questions.jsonl"),
                "endpoint": "/v1/completions", "completion_window": "24h"}  # fmt: skip
        return batches.create(made).id


def _page(name: str) -> str:
    return (DOCS / "howto" / f"{name}.md").read_text()[:PAGE_CHARS]
