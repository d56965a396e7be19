"""Dynamo's offline replay of one trace, in the virtual environment that has it.

Reads the keyword arguments and the trace's rows as JSON from stdin, and writes a row for each
request to stdout: instance, reused tokens, milliseconds to its last token. Imports nothing of
ours, for that environment does not have it.
"""

import importlib
import json
import sys
import tempfile
from typing import Any


def main() -> None:
    """Replay what stdin asks for."""
    asked: dict[str, Any] = json.load(sys.stdin)
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as trace:
        trace.writelines(json.dumps(row) + "\n" for row in asked["rows"])
        trace.flush()
        core = importlib.import_module("dynamo._core")
        done = core.run_mocker_trace_replay(
            [trace.name], capture_per_request=True, **asked["arguments"]
        )
    requests = sorted(done.per_request, key=lambda each: float(each["arrival_time_ms"]))
    json.dump([_row(each) for each in requests], sys.stdout)


def _row(request: dict[str, Any]) -> tuple[int, int, float]:
    return request["decode_worker_idx"], request["reused_input_tokens"], request["e2e_latency_ms"]


if __name__ == "__main__":
    main()
