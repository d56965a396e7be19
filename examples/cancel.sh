#!/bin/sh
# End a job that nobody needs any more; and one that would come too late.
set -eu

url=${PREBLE_URL:-http://127.0.0.1:8000}
key=${PREBLE_API_KEY:-none} # an api that is open takes any

ask() { curl --fail-with-body -sS -H "Authorization: Bearer $key" "$@"; }
field() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

long='"sampling_params": {"max_new_tokens": 4000, "ignore_eos": true}'
id=$(ask "$url/v1/jobs" -H 'Content-Type: application/json' \
    -d '{"prompt": "Tell me everything", '"$long"'}' | field id)
ask -X POST "$url/v1/jobs/$id/cancel" | field status

id=$(ask "$url/v1/jobs" -H 'Content-Type: application/json' \
    -d '{"prompt": "Tell me everything", "deadline_s": 0.1, '"$long"'}' | field id)
ask "$url/v1/jobs/$id" -H 'Prefer: wait=30' | field error
