#!/bin/sh
# Submit one job and wait for its result. Usage: examples/jobs.sh [PROMPT]
set -eu

url=${PREBLE_URL:-http://127.0.0.1:8000}
key=${PREBLE_API_KEY:-none} # an api that is open takes any
prompt=${1:-The capital of France is}

ask() { curl --fail-with-body -sS -H "Authorization: Bearer $key" "$@"; }
field() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

# Let Python write the JSON: a prompt may hold quotes.
body=$(python3 -c 'import json, sys; print(json.dumps({"prompt": sys.argv[1]}))' "$prompt")
job=$(ask "$url/v1/jobs" -H 'Content-Type: application/json' -d "$body")
id=$(printf %s "$job" | field id)
echo "job $id was accepted" >&2

# Each look waits for up to ten seconds at the api, so that nothing needs to sleep here.
while :; do
    job=$(ask "$url/v1/jobs/$id" -H 'Prefer: wait=10')
    case $(printf %s "$job" | field status) in
        waiting | assigned | running) ;;
        *) break ;;
    esac
done
printf '%s\n' "$job"
