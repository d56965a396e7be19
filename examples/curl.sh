#!/bin/sh
# Submit one job with curl and wait for its answer. Usage: examples/curl.sh [PROMPT]
set -eu

url=${PREBLE_URL:-http://127.0.0.1:8000}
prompt=${1:-Two and two is}

# Let Python write the JSON: a prompt may hold quotes.
body=$(python3 -c 'import json, sys; print(json.dumps({"prompt": sys.argv[1]}))' "$prompt")
field() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

id=$(curl --fail-with-body -sS "$url/v1/jobs" -H 'Content-Type: application/json' -d "$body" | field id)
echo "job $id was accepted" >&2

while :; do
    job=$(curl --fail-with-body -sS "$url/v1/jobs/$id")
    case $(printf %s "$job" | field status) in
        completed | failed) break ;;
    esac
    sleep 1
done
printf '%s\n' "$job"
