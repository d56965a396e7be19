#!/bin/sh
# Submit many jobs at once, under a name that makes the request safe to repeat, and list them.
set -eu

url=${PREBLE_URL:-http://127.0.0.1:8000}
key=${PREBLE_API_KEY:-none} # an api that is open takes any

ask() { curl --fail-with-body -sS -H "Authorization: Bearer $key" "$@"; }
field() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

# Accepted whole or not at all. Jobs of priority `batch` run in the order of their prefixes.
body='{"jobs": [
  {"prompt": "The capital of France is", "priority": "batch", "tenant": "acme"},
  {"prompt": "The capital of Italy is", "priority": "batch", "tenant": "acme"}]}'
name="capitals-$(date +%s)"
for attempt in first second; do
    ids=$(ask "$url/v1/jobs" -H 'Content-Type: application/json' -H "Idempotency-Key: $name" \
        -d "$body" | python3 -c 'import json, sys; print(*[j["id"] for j in json.load(sys.stdin)["data"]])')
    echo "$attempt: $ids" # the same ids: no job was made twice
done

for id in $ids; do
    ask "$url/v1/jobs/$id" -H 'Prefer: wait=10' | field status
done
ask "$url/v1/jobs?tenant=acme&status=completed&limit=2"
echo
