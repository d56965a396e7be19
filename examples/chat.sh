#!/bin/sh
# A chat in OpenAI's format, whole and streamed. Usage: examples/chat.sh [MODEL]
set -eu

url=${PREBLE_URL:-http://127.0.0.1:8000}
key=${PREBLE_API_KEY:-none} # an api that is open takes any

ask() { curl --fail-with-body -sS -H "Authorization: Bearer $key" "$@"; }

model=${1:-$(ask "$url/v1/models" | python3 -c 'import json, sys; print(json.load(sys.stdin)["data"][0]["id"])')}
ask "$url/v1/chat/completions" -H 'Content-Type: application/json' -d '{
  "model": "'"$model"'", "max_tokens": 20,
  "messages": [{"role": "user", "content": "What is the capital of France?"}]}'
echo
ask -N "$url/v1/chat/completions" -H 'Content-Type: application/json' -d '{
  "model": "'"$model"'", "max_tokens": 5, "stream": true,
  "stream_options": {"include_usage": true},
  "messages": [{"role": "user", "content": "What is the capital of France?"}]}'
