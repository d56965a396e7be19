"""The demo's prompts: real text, a few long prefixes, many short questions.

`data/demo/<prefix>.txt` holds what prompts share, `data/demo/questions.jsonl` what each adds,
in the order of sending: shuffled once, as by users who know nothing of each other.
"""

from collections import Counter
from importlib import resources
from typing import Final

import msgspec

from preble.client import JobFields

MAX_NEW_TOKENS: Final = 24

# What two CPU cores answer in a minute.
SMALL_PREFIX_CHARS: Final = 2_400
SMALL_QUESTION_CHARS: Final = 700
SMALL_PROMPTS_PER_PREFIX: Final = 6


class Prompt(msgspec.Struct, frozen=True):
    """One prompt: the prefix it shares, and what is asked at its end."""

    prefix: str
    question: str
    text: str

    is_chat: bool = False
    """Whether it is put to the model as a chat's first message."""

    @property
    def job(self) -> JobFields:
        """The prompt as the api takes it: greedy, one line of answer."""
        sampling = {"max_new_tokens": MAX_NEW_TOKENS, "temperature": 0.0, "stop": ["\n"]}
        if self.is_chat:
            messages = [{"role": "user", "content": self.text}]
            return {"messages": messages, "sampling_params": sampling}
        return {"prompt": self.text, "sampling_params": sampling}


class _Question(msgspec.Struct, frozen=True):
    prefix: str
    question: str


def load_prompts(*, is_small: bool = False) -> list[Prompt]:
    """The prompts, in the order of sending.

    Args:
        is_small: Fewer of them, with the beginnings of the prefixes, as chats: for the embedded
            model on a CPU.
    """
    folder = resources.files("preble") / "data" / "demo"
    lines = (folder / "questions.jsonl").read_bytes().splitlines()
    questions = [msgspec.json.decode(line, type=_Question) for line in lines]
    prefixes = {
        name: (folder / f"{name}.txt").read_text(encoding="utf-8")
        for name in {question.prefix for question in questions}
    }
    if is_small:
        questions = _few(questions)
        prefixes = {name: _beginning(text) for name, text in prefixes.items()}
    return [
        Prompt(each.prefix, each.question, f"{prefixes[each.prefix]}\n{each.question}", is_small)
        for each in questions
    ]


def _few(questions: list[_Question]) -> list[_Question]:
    """The first short questions about each prefix."""
    taken: list[_Question] = []
    per_prefix: Counter[str] = Counter()
    for each in questions:
        is_short = len(each.question) <= SMALL_QUESTION_CHARS
        if is_short and per_prefix[each.prefix] < SMALL_PROMPTS_PER_PREFIX:
            per_prefix[each.prefix] += 1
            taken.append(each)
    return taken


def _beginning(text: str) -> str:
    """So much of a text as is small, up to the end of a line or else of a sentence."""
    cut = text[:SMALL_PREFIX_CHARS]
    line, sentence = cut.rfind("\n"), cut.rfind(". ")
    return cut[: line if line > SMALL_PREFIX_CHARS // 2 else sentence + 1].rstrip() + "\n"
