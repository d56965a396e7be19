#!/usr/bin/env bash
# Serving benchmarks of other projects, unmodified, against a stack with emulated engines; their
# reports go to benchmarks/clients/reports. What must be installed: docs/reference/sglang.md.
#
#   GUIDELLM=guidellm AIPERF=aiperf SGLANG_PYTHON=python benchmarks/clients/run.sh
set -euo pipefail
cd "$(dirname "$0")/../.."

: "${GUIDELLM:=guidellm}" "${AIPERF:=aiperf}" "${SGLANG_PYTHON:=python}" "${PORT:=18761}"
: "${CACHED_TOKENIZER:=gpt2}" # of a model in the cache of the hub's client
url=http://127.0.0.1:$PORT
tokenizer=$PWD/preble/data/tokenizer
reports=$PWD/benchmarks/clients/reports
work=$(mktemp -d)
mkdir -p "$reports"
export HF_HUB_OFFLINE=1

.venv/bin/preble serve --engine emulated --workers 2 --port "$PORT" >"$work/serve.log" 2>&1 &
stack=$!
trap 'kill "$stack"; wait "$stack" || true; rm -rf "$work"' EXIT
until curl -sf "$url/health" >/dev/null; do
    kill -0 "$stack"
    sleep 0.2
done

# Only the tables of a report: from the first line with $first to the next one with $last.
report() {
    local name=$1
    shift
    printf '%s\n' "$name"
    (cd "$work" && "$@" >"$work/$name.log" 2>&1) || { tail -20 "$work/$name.log"; exit 1; }
    sed -n "/$first/,\$p" "$work/$name.log" | sed "/$last/q" >"$reports/$name.txt"
    test -s "$reports/$name.txt"
}

first='Serving Benchmark Result' last='^=*$'
sglang=("$SGLANG_PYTHON" -W ignore -m sglang.bench_serving --base-url "$url"
    --tokenizer "$tokenizer")
for backend in sglang sglang-oai sglang-oai-chat; do
    report "$backend" "${sglang[@]}" --backend "$backend" --dataset-name random-ids \
        --num-prompts 16 --random-input-len 256 --random-output-len 16 --request-rate 20
done
report sglang-shared-prefix "${sglang[@]}" --backend sglang --cache-report --request-rate 40 \
    --dataset-name generated-shared-prefix --gsp-num-groups 4 --gsp-prompts-per-group 8 \
    --gsp-system-prompt-len 512 --gsp-question-len 32 --gsp-output-len 16

first='NVIDIA AIPerf | LLM Metrics *$' last='^└'
report aiperf "$AIPERF" profile --model preble-emulated --url "$url" --endpoint-type chat \
    --streaming --tokenizer "$CACHED_TOKENIZER" --concurrency 4 --request-count 16 --isl 128 \
    --osl 16 --ui none

first='Text Metrics Statistics' last='^Warnings'
for number in 1 2 3 4 5 6 7 8; do
    printf '{"prompt": "Question %s about the capital of France"}\n' "$number"
done >"$work/prompts.jsonl"
report guidellm "$GUIDELLM" run --backend "kind=openai_http,target=$url,max_tokens=16" \
    --data "kind=json_file,path=$work/prompts.jsonl" --profile kind=concurrent,streams=2 \
    --constraint kind=max_requests,count=8
