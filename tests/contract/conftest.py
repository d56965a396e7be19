"""A pool with two api processes, and OpenAI's own client for each."""

from collections.abc import AsyncIterator, Iterator

import openai
import pytest
from processes import Stack, stack
from support import eventually, free_port


@pytest.fixture(scope="session")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """About a millisecond a token."""
    with stack(tmp_path_factory.mktemp("contract"), instances=1, emulated_speed="20") as made:
        yield made


@pytest.fixture(scope="session")
def other_url(pool: Stack) -> str:
    """The second api process of the pool."""
    port = str(free_port())
    pool.start("api2", port=port)
    eventually(lambda: "listening" in pool.log("api2"))
    return f"http://127.0.0.1:{port}"


@pytest.fixture(scope="session")
def client(pool: Stack) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{pool.url}/v1", api_key="any", max_retries=0) as made:
        yield made


@pytest.fixture(scope="session")
def other(other_url: str) -> Iterator[openai.OpenAI]:
    """A client of the second api process."""
    with openai.OpenAI(base_url=f"{other_url}/v1", api_key="any", max_retries=0) as made:
        yield made


@pytest.fixture
async def async_client(pool: Stack) -> AsyncIterator[openai.AsyncOpenAI]:
    made = openai.AsyncOpenAI(base_url=f"{pool.url}/v1", api_key="any", max_retries=0)
    async with made:
        yield made
