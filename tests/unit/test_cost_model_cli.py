"""`preble fit-cost`: three inputs, one file; each wrong use is one line with the reason."""

import json
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import pytest

from preble.bench import steps
from preble.cli import run
from preble.client import JobFields, Result, Usage
from preble.client.replies import Job
from preble.config import Settings
from preble.cost_model import load_coefficients, load_cost_model
from preble.cost_model.samples import StepSample, format_samples, parse_samples
from preble.errors import ConfigError
from preble.messages import JobState
from preble.serve.private import PrivateStack

A6000 = load_cost_model("mistral_7b_a6000")
SIZES = {
    "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128_256,
}  # fmt: skip


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    file = tmp_path / "steps.jsonl"
    lengths = (1, 64, 200, 256, 384, 512, 1_024, 2_048)
    file.write_bytes(
        format_samples(
            StepSample(tokens, tokens + 1, 1, A6000.prefill_s(tokens, tokens)) for tokens in lengths
        )
    )
    return file


def test_samples_become_a_cost_model_and_a_table(
    samples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = tmp_path / "made.json"
    assert run(["fit-cost", str(samples), "--name", "mine", "-o", str(made)]) == 0
    coefficients = load_coefficients(str(made))
    assert coefficients.name == "mine"
    assert "8 samples of steps.jsonl" in coefficients.source
    assert "held out: median" in coefficients.source
    predicted_s = load_cost_model(str(made)).prefill_s(512, 512)
    assert predicted_s == pytest.approx(A6000.prefill_s(512, 512), rel=0.05)
    said = capsys.readouterr().out
    assert "66.72" in said
    assert "predicted ms" in said


def test_a_bad_sample_is_named(
    samples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples.write_bytes(samples.read_bytes() + b'{"new_tokens": 5}\n')
    assert run(["fit-cost", str(samples), "-o", str(tmp_path / "made.json")]) == 2
    assert "steps.jsonl, line 9: Object missing required field" in capsys.readouterr().err
    assert not (tmp_path / "made.json").exists()


def test_an_estimate_is_named_after_its_file(tmp_path: Path) -> None:
    config, made = tmp_path / "config.json", tmp_path / "llama3_8b_h100.json"
    config.write_text(json.dumps(SIZES))
    assert run(["fit-cost", "--config", str(config), "--gpu", "h100", "-o", str(made)]) == 0
    assert load_coefficients(str(made)) == load_coefficients("llama3_8b_h100")


def test_an_estimate_for_two_gpus(tmp_path: Path) -> None:
    config, made = tmp_path / "config.json", tmp_path / "two.json"
    config.write_text(json.dumps(SIZES))
    arguments = ["--config", str(config), "--gpu", "h100", "--tp", "2", "-o", str(made)]
    assert run(["fit-cost", *arguments]) == 0
    assert load_cost_model(str(made)).decode_s(1, 500) == pytest.approx(
        load_cost_model("llama3_8b_h100").decode_s(1, 500) / 2, rel=1e-4
    )


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "give SAMPLES, or --measure, or --config"),
        (["--measure", "--config", "{folder}/config.json"], "one of the three"),
        (["{folder}/absent.jsonl"], "absent.jsonl: No such file"),
        (["--config", "{folder}/config.json"], "--gpu is missing: one of a10, a100"),
        (["--config", "{folder}/config.json", "--gpu", "abacus"], "--gpu abacus: one of"),
        (["--measure", "--engine", "http"], "engine http needs the URL"),
    ],
)
def test_wrong_use_is_one_line(
    arguments: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(SIZES))
    given = [argument.format(folder=tmp_path) for argument in arguments]
    assert run(["fit-cost", *given, "-o", str(tmp_path / "made.json")]) == 2
    said = capsys.readouterr().err
    assert reason in said
    assert said.count("\n") == 1


def test_two_engines_cannot_be_measured_at_once() -> None:
    settings = Settings(
        engine="http", engine_url="http://127.0.0.1:1,http://127.0.0.1:2", tokenizer="/tok"
    )
    with pytest.raises(ConfigError, match="takes one engine"):
        list(steps.run(settings, print))


class FakeStack:
    """Answers as an engine would that follows a cost model and holds all it has seen."""

    def __init__(self, url: str = "", *, api_key: str = "") -> None:
        del url, api_key
        self.held: set[tuple[int, ...]] = {()}
        self.results: dict[str, Job] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, jobs: list[JobFields]) -> list[str]:
        return [self._answer(job, len(jobs)) for job in jobs]

    def get(self, job_id: str) -> Job:
        return self.results[job_id]

    def _answer(self, job: JobFields, num_requests: int) -> str:
        fields = json.loads(json.dumps(job))
        prompt = tuple(fields["input_ids"])
        output_tokens = fields["sampling_params"]["max_new_tokens"]
        held = max((len(each) for each in self.held if prompt[: len(each)] == each), default=0)
        cached_tokens = min(held, (len(prompt) - 1) // 16 * 16)
        self.held.add(prompt)
        ttft_s = A6000.prefill_s(len(prompt) - cached_tokens, len(prompt))
        context_tokens = num_requests * (len(prompt) + 1)
        decode_s = A6000.decode_run_s(num_requests, context_tokens, output_tokens - 1)
        usage = Usage(len(prompt), output_tokens, cached_tokens)
        result = Result("", "length", usage, ttft_s, ttft_s + decode_s)
        job_id = f"job{len(self.results)}"
        self.results[job_id] = Job(job_id, JobState.COMPLETED, 0.0, result=result)
        return job_id


def test_measured_steps_are_kept_beside_the_fit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told: list[Settings] = []

    @contextmanager
    def stack(settings: Settings) -> Generator[PrivateStack]:
        told.append(settings)
        yield PrivateStack("http://127.0.0.1:1", 1)

    monkeypatch.setattr(steps, "private_stack", stack)
    monkeypatch.setattr(steps, "Client", FakeStack)
    made = tmp_path / "made.json"

    assert run(["fit-cost", "--measure", "--engine", "emulated", "-o", str(made)]) == 0
    assert [(each.engine, each.workers) for each in told] == [("emulated", 1)]
    timed = parse_samples((tmp_path / "made.samples.jsonl").read_bytes(), origin="x")
    assert {sample.num_requests for sample in timed} == {1, 2, 4, 8, 16, 32, 64}
    assert {sample.context_tokens - sample.new_tokens for sample in timed} >= {0, 1_984, 6_080}
    assert f"{len(timed)} steps of the emulated engine" in load_coefficients(str(made)).source
    for tokens in (200, 512, 1_500, 2_048):
        assert load_cost_model(str(made)).prefill_s(tokens, tokens) == pytest.approx(
            A6000.prefill_s(tokens, tokens), rel=0.05
        )


def test_a_failed_probe_ends_the_measurement(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Failing(FakeStack):
        def get(self, job_id: str) -> Job:
            return Job(job_id, JobState.FAILED, 0.0)

    @contextmanager
    def stack(_: Settings) -> Generator[PrivateStack]:
        yield PrivateStack("http://127.0.0.1:1", 1)

    monkeypatch.setattr(steps, "private_stack", stack)
    monkeypatch.setattr(steps, "Client", Failing)
    made = tmp_path / "made.json"

    assert run(["fit-cost", "--measure", "--engine", "emulated", "-o", str(made)]) == 1
    assert "job job0 did not complete: failed" in capsys.readouterr().err
    assert not made.exists()
