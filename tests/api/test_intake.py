"""Text into tokens, with a tokenizer that puts a token of its own in front."""

from collections.abc import Iterator

import pytest
import tokenizers
from prometheus_client import CollectorRegistry
from support import POOL
from tokenizers import models, pre_tokenizers, processors

from preble.errors import InvalidJob
from preble.messages import pack_tokens
from preble.metrics import ApiMetrics
from preble.tokenizer import ChatTemplate, TextCache, Tokenizer
from preble_api.intake import SHORT_CHARS, Intake
from preble_api.principal import ANYONE
from preble_api.schemas import ChatMessage, JobRequest
from preble_api.threads import TextThreads

pytestmark = pytest.mark.anyio

START, WORD = 0, 1
TEMPLATE = "{{ bos_token }}{% for each in messages %}{{ each.content }}{% endfor %}"


@pytest.fixture(params=[TEMPLATE])
def intake(request: pytest.FixtureRequest) -> Iterator[Intake]:
    core = tokenizers.Tokenizer(models.WordLevel({"<s>": START, "word": WORD}))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.add_special_tokens(["<s>"])
    threads = TextThreads(1)
    core.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", START)])
    tokenizer = Tokenizer(core, ChatTemplate(request.param, {"bos_token": "<s>"}), "f")
    cache = TextCache(tokenizer, 1_000_000)
    yield Intake(POOL, tokenizer, cache, threads, ApiMetrics(CollectorRegistry()))
    threads.close()


@pytest.mark.parametrize("words", [3, SHORT_CHARS])
async def test_each_prompt_begins_with_one_special_token(intake: Intake, words: int) -> None:
    """A raw prompt gets it from the tokenizer, a chat from its template, neither twice."""
    text = "word " * words
    expected = pack_tokens([START, *[WORD] * words])
    assert (await intake.one(JobRequest(prompt=text), ANYONE)).prompt == expected
    chat = [ChatMessage("user", text)]
    assert (await intake.one(JobRequest(messages=chat), ANYONE)).prompt == expected


@pytest.mark.parametrize("intake", ["{{ messages[0].content }}"], indirect=True)
async def test_chat_without_tokens_is_refused(intake: Intake) -> None:
    blank = JobRequest(messages=[ChatMessage("user", "  ")])
    with pytest.raises(InvalidJob, match="no tokens") as caught:
        await intake.many([JobRequest(prompt="word"), blank], ANYONE)
    assert caught.value.field == "jobs[1].messages"
