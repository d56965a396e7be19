#!/bin/sh
# SGLang's own route, for clients that were written for it.
set -eu

url=${PREBLE_URL:-http://127.0.0.1:8000}
key=${PREBLE_API_KEY:-none} # an api that is open takes any

ask() { curl --fail-with-body -sS -H "Authorization: Bearer $key" "$@"; }

ask "$url/generate" -H 'Content-Type: application/json' -d '{
  "text": ["The capital of France is", "The capital of Italy is"],
  "sampling_params": {"max_new_tokens": 8, "temperature": 0}}'
echo
# Each event repeats the text from its beginning.
ask -N "$url/generate" -H 'Content-Type: application/json' -d '{
  "text": "The capital of Spain is", "stream": true, "sampling_params": {"max_new_tokens": 8}}'
