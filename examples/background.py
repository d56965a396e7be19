"""Ask OpenAI's responses in the background, lose the stream, and resume it."""

import os

from openai import OpenAI

URL = os.environ.get("PREBLE_URL", "http://127.0.0.1:8000")
KEY = os.environ.get("PREBLE_API_KEY", "none")  # an api that is open takes any

client = OpenAI(base_url=f"{URL}/v1", api_key=KEY)
model = client.models.list().data[0].id
response_id, number, text = "", -1, ""
with client.responses.create(
    model=model, input="Tell me of Paris.", background=True, stream=True, max_output_tokens=40
) as stream:
    for event in stream:
        number = event.sequence_number
        if event.type == "response.created":
            response_id = event.response.id
        if event.type == "response.output_text.delta":
            text += event.delta
            break  # as if the connection were lost

# From any api process, until the response expires.
for event in client.responses.retrieve(response_id, stream=True, starting_after=number):
    if event.type == "response.output_text.delta":
        text += event.delta
response = client.responses.retrieve(response_id)
assert response.output_text == text
print(response.status, text)
client.responses.delete(response_id)
