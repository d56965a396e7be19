"""Models, as OpenAI's client sees them."""

import openai
import pytest

pytestmark = pytest.mark.process

MODEL = "preble-emulated"


def test_the_one_model_is_listed(client: openai.OpenAI) -> None:
    [listed] = client.models.list()
    assert (listed.id, listed.object, listed.owned_by) == (MODEL, "model", "preble")
    assert client.models.retrieve(MODEL) == listed


@pytest.mark.anyio
async def test_the_one_model_is_listed_asynchronously(async_client: openai.AsyncOpenAI) -> None:
    assert [each.id async for each in async_client.models.list()] == [MODEL]


def test_another_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("gpt-4o")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
