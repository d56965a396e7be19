#!/bin/sh
# Ask OpenAI's responses in the background, and fetch the answer later.
set -eu

url=${PREBLE_URL:-http://127.0.0.1:8000}
key=${PREBLE_API_KEY:-none} # an api that is open takes any

ask() { curl --fail-with-body -sS -H "Authorization: Bearer $key" "$@"; }
field() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

model=$(ask "$url/v1/models" | python3 -c 'import json, sys; print(json.load(sys.stdin)["data"][0]["id"])')
id=$(ask "$url/v1/responses" -H 'Content-Type: application/json' -d '{
  "model": "'"$model"'", "input": "Tell me of Paris.", "background": true,
  "max_output_tokens": 40}' | field id)
echo "$id"

# Whatever has been said by now, and what follows; with starting_after=N what follows the event N.
ask -N "$url/v1/responses/$id?stream=true&starting_after=3" | tail -n 3
ask "$url/v1/responses/$id" | field status
ask -X DELETE "$url/v1/responses/$id"
echo
