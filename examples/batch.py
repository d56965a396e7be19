"""A file of requests through OpenAI's own client: upload it, run it, fetch the answers."""

import json
import os
import time

from openai import OpenAI

URL = os.environ.get("PREBLE_URL", "http://127.0.0.1:8000")
KEY = os.environ.get("PREBLE_API_KEY", "none")  # an api that is open takes any

client = OpenAI(base_url=f"{URL}/v1", api_key=KEY)
model = client.models.list().data[0].id
lines = [
    {
        "custom_id": f"n-{number}",
        "method": "POST",
        "url": "/v1/completions",
        "body": {"model": model, "prompt": f"Tell me about {number}", "max_tokens": 8},
    }
    for number in range(20)
]
content = "\n".join(json.dumps(line) for line in lines).encode()

uploaded = client.files.create(file=("input.jsonl", content), purpose="batch")
batch = client.batches.create(
    input_file_id=uploaded.id, endpoint="/v1/completions", completion_window="24h"
)
while batch.status not in {"completed", "failed", "expired", "cancelled"}:
    time.sleep(0.5)
    batch = client.batches.retrieve(batch.id)

print(batch.status, batch.request_counts)
assert batch.output_file_id
answers = client.files.content(batch.output_file_id).iter_lines()
texts = {
    answer["custom_id"]: answer["response"]["body"]["choices"][0]["text"]
    for answer in map(json.loads, answers)
}
assert len(texts) == len(lines)
print(texts["n-7"])
for file_id in (uploaded.id, batch.output_file_id):
    client.files.delete(file_id)
