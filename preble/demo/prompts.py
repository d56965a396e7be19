"""The demo's prompts: real text, a few long prefixes, many short questions.

`data/demo/<prefix>.txt` holds what prompts share, `data/demo/questions.jsonl` what each adds,
in the order of sending: shuffled once, as by users who know nothing of each other.
"""

from importlib import resources

import msgspec

from preble.client import JobFields

MAX_NEW_TOKENS = 24


class Prompt(msgspec.Struct, frozen=True):
    """One prompt: the prefix it shares, and what is asked at its end."""

    prefix: str
    question: str
    text: str

    @property
    def job(self) -> JobFields:
        """The prompt as the api takes it: greedy, one line of answer."""
        sampling = {"max_new_tokens": MAX_NEW_TOKENS, "temperature": 0.0, "stop": ["\n"]}
        return {"prompt": self.text, "sampling_params": sampling}


class _Question(msgspec.Struct, frozen=True):
    prefix: str
    question: str


def load_prompts() -> list[Prompt]:
    """All prompts, in the order of sending."""
    folder = resources.files("preble") / "data" / "demo"
    lines = (folder / "questions.jsonl").read_bytes().splitlines()
    questions = [msgspec.json.decode(line, type=_Question) for line in lines]
    prefixes = {
        name: (folder / f"{name}.txt").read_text(encoding="utf-8")
        for name in {question.prefix for question in questions}
    }
    return [
        Prompt(each.prefix, each.question, f"{prefixes[each.prefix]}\n{each.question}")
        for each in questions
    ]
