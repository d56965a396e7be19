"""Text into tokens, with a tokenizer that puts a token of its own in front."""

import asyncio
import threading
from collections.abc import Iterator, Sequence

import pytest
import tokenizers
from prometheus_client import CollectorRegistry
from support import POOL
from tokenizers import models, pre_tokenizers, processors

from preble.errors import InvalidJob
from preble.messages import pack_tokens
from preble.metrics import ApiMetrics
from preble.tokenizer import ChatTemplate, Message, TextCache, Tokenizer
from preble_api.intake import SHORT_CHARS, Intake
from preble_api.job_ids import JobIds
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
    yield Intake(
        POOL, JobIds("default"), tokenizer, cache, threads, ApiMetrics(CollectorRegistry())
    )
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


async def test_chats_that_take_long_are_not_rendered_on_the_event_loop(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one imports a library, whatever its length; a long one may have no text."""
    render = Tokenizer.render_chat
    was_on_the_loop: list[bool] = []

    def rendering(self: Tokenizer, messages: Sequence[Message]) -> str:
        was_on_the_loop.append(threading.current_thread() is threading.main_thread())
        return render(self, messages)

    monkeypatch.setattr(Tokenizer, "render_chat", rendering)
    short = [ChatMessage("user", "word")]
    for chat in (short, short, short + [ChatMessage("user", "")] * 50):
        await intake.one(JobRequest(messages=chat), ANYONE)
    assert was_on_the_loop == [False, True, False]


async def test_a_list_of_short_texts_lets_others_run(intake: Intake) -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    running = asyncio.create_task(other())
    await intake.many([JobRequest(prompt="word " * (SHORT_CHARS // 5))] * 120, ANYONE)
    running.cancel()
    assert turns > 30
