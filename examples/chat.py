"""Chats through OpenAI's own client: only `base_url` is other."""

import os

from openai import OpenAI
from openai.types.chat import ChatCompletionUserMessageParam

URL = os.environ.get("PREBLE_URL", "http://127.0.0.1:8000")
KEY = os.environ.get("PREBLE_API_KEY", "none")  # an api that is open takes any

client = OpenAI(base_url=f"{URL}/v1", api_key=KEY)
model = client.models.list().data[0].id
question: ChatCompletionUserMessageParam = {"role": "user", "content": "What is a KV cache?"}

answer = client.chat.completions.create(model=model, messages=[question], max_tokens=20)
print(answer.choices[0].message.content)

with client.chat.completions.create(
    model=model,
    messages=[question],
    max_tokens=20,
    stream=True,
    stream_options={"include_usage": True},
    extra_body={"priority": "high"},
) as chunks:
    for chunk in chunks:
        for choice in chunk.choices:
            print(choice.delta.content or "", end="", flush=True)
        if chunk.usage and chunk.usage.prompt_tokens_details:
            cached = chunk.usage.prompt_tokens_details.cached_tokens
            print(f"\n{cached} of {chunk.usage.prompt_tokens} prompt tokens were cached")
