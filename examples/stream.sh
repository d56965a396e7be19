#!/bin/sh
# Follow a job as it goes on, lose the connection, and go on where it broke off.
set -eu

url=${PREBLE_URL:-http://127.0.0.1:8000}
key=${PREBLE_API_KEY:-none} # an api that is open takes any

ask() { curl --fail-with-body -sS -H "Authorization: Bearer $key" "$@"; }
field() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

job=$(ask "$url/v1/jobs" -H 'Content-Type: application/json' -d '{
  "prompt": "Once upon a time there was a cache", "stream": true,
  "sampling_params": {"max_new_tokens": 60, "ignore_eos": true}}')
id=$(printf %s "$job" | field id)

# Read three events, each of which has an id, and leave; curl would complain that nobody reads on.
last=$(ask -N "$url/v1/jobs/$id/events" 2> /dev/null | sed -n 's/^id: //p; 12q' | tail -n 1)
echo "broke off after the event $last"
ask -N "$url/v1/jobs/$id/events" -H "Last-Event-ID: $last"
