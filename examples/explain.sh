#!/bin/sh
# Ask why a job went where it went, and how much of its prompt was reused.
set -eu

url=${PREBLE_URL:-http://127.0.0.1:8000}
key=${PREBLE_API_KEY:-none} # an api that is open takes any

ask() { curl --fail-with-body -sS -H "Authorization: Bearer $key" "$@"; }
field() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

prompt=$(python3 -c 'print("A cache is a place where what was computed is kept. " * 30)')
for time in first second; do
    id=$(ask "$url/v1/jobs" -H 'Content-Type: application/json' \
        -d '{"prompt": "'"$prompt"'", "sampling_params": {"max_new_tokens": 4}}' | field id)
    ask "$url/v1/jobs/$id" -H 'Prefer: wait=30' > /dev/null
    echo "$time: $(ask "$url/v1/jobs/$id/explain" | field summary)"
done
ask "$url/v1/jobs/$id/explain"
echo
