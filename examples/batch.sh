#!/bin/sh
# A file of requests: upload it, run it, fetch the file of answers.
set -eu

url=${PREBLE_URL:-http://127.0.0.1:8000}
key=${PREBLE_API_KEY:-none} # an api that is open takes any
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT

ask() { curl --fail-with-body -sS -H "Authorization: Bearer $key" "$@"; }
field() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

model=$(ask "$url/v1/models" | python3 -c 'import json, sys; print(json.load(sys.stdin)["data"][0]["id"])')
for country in France Italy Spain; do
    cat << LINE
{"custom_id": "$country", "method": "POST", "url": "/v1/completions", "body": {"model": "$model", "prompt": "The capital of $country is", "max_tokens": 8}}
LINE
done > "$folder/input.jsonl"

file=$(ask "$url/v1/files" -F purpose=batch -F "file=@$folder/input.jsonl" | field id)
id=$(ask "$url/v1/batches" -H 'Content-Type: application/json' -d '{
  "input_file_id": "'"$file"'", "endpoint": "/v1/completions", "completion_window": "24h"}' | field id)
while :; do
    batch=$(ask "$url/v1/batches/$id")
    case $(printf %s "$batch" | field status) in
        completed | failed | expired | cancelled) break ;;
    esac
    sleep 0.5
done
printf %s "$batch" | field request_counts
ask "$url/v1/files/$(printf %s "$batch" | field output_file_id)/content"
