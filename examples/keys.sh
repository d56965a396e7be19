#!/bin/sh
# Two tenants with keys, neither of which sees what is the other's. For an api that is not open,
# PREBLE_AUTH=keys; the first key closes one that is, for good.
#
# Keys are made on Redis: PREBLE_REDIS_URL, which `preble serve` prints.
set -eu

url=${PREBLE_URL:-http://127.0.0.1:8000}
field() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

alice=$(preble keys create --name alice --tenant acme)
bob=$(preble keys create --name bob --tenant globex --scope read)

id=$(curl --fail-with-body -sS "$url/v1/jobs" -H "Authorization: Bearer $alice" \
    -H 'Content-Type: application/json' -d '{"prompt": "The capital of France is"}' | field id)
for key in "$alice" "$bob"; do
    curl -sS -o /dev/null -w '%{http_code}\n' "$url/v1/jobs/$id" -H "Authorization: Bearer $key"
done # 200, 404

# A key without the scope to submit.
curl -sS "$url/v1/jobs" -H "Authorization: Bearer $bob" \
    -H 'Content-Type: application/json' -d '{"prompt": "The capital of France is"}' | field detail
preble keys ls
