"""The demo's prompts, its figures, and how a round submits."""

import itertools
import json
from collections import Counter
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import httpx2
import pytest
from rich.console import Console
from tokenizers import Tokenizer

from preble.client import Client, Failure, HitPrediction, Job, Placement, Result, Usage
from preble.clock import ManualClock
from preble.config import EngineKind, Settings, load_settings
from preble.demo import demo_defaults
from preble.demo.engines import FlushFailed, flush_engines
from preble.demo.figures import round_figures
from preble.demo.progress import progress_of
from preble.demo.prompts import MAX_NEW_TOKENS, load_prompts
from preble.demo.report import asked, save_figures, show_failure, show_figures, shown
from preble.demo.round import NUM_USERS, run_round
from preble.messages import JobState


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    folder = resources.files("preble") / "data" / "tokenizer"
    return Tokenizer.from_str((folder / "tokenizer.json").read_text())


def demo_settings(engine: EngineKind) -> Settings:
    defaults = demo_defaults(load_settings({}, engine=engine))
    return load_settings(defaults, engine=engine)


def ended_job(job_id: str, *, instance: str = "gpu0", latency_s: float = 1.0) -> Job:
    return Job(
        id=job_id,
        status=JobState.COMPLETED,
        created_at=100.0,
        ended_at=100.0 + latency_s,
        prompt_tokens=1000,
        instance=instance,
        assignment=Placement(instance, "e2", "exploit", 800, 900),
        result=Result("four", "stop", Usage(1000, 2, 750), 0.1, 0.2, (), HitPrediction(700, 60)),
    )


def failed_job(job_id: str) -> Job:
    error = Failure("engine_refused", "too long")
    return Job(id=job_id, status=JobState.FAILED, created_at=100.0, ended_at=101.0, error=error)


def test_there_are_many_prompts_over_few_prefixes() -> None:
    counts = Counter(prompt.prefix for prompt in load_prompts())

    assert sum(counts.values()) >= 64
    assert 6 <= len(counts) <= 8
    assert min(counts.values()) >= 8


def test_prompts_of_one_prefix_share_most_of_their_text() -> None:
    by_prefix: dict[str, list[str]] = {}
    for prompt in load_prompts():
        by_prefix.setdefault(prompt.prefix, []).append(prompt.text)

    for texts in by_prefix.values():
        shared = len(common_start(texts))
        assert shared > 0.7 * max(map(len, texts))


def common_start(texts: list[str]) -> str:
    columns = itertools.takewhile(lambda column: len(set(column)) == 1, zip(*texts, strict=False))
    return "".join(column[0] for column in columns)


def test_users_do_not_come_sorted_by_prefix() -> None:
    names = [prompt.prefix for prompt in load_prompts()]

    repeats = sum(first == second for first, second in itertools.pairwise(names))
    assert repeats < len(names) / 4


def test_no_prompt_is_sent_twice() -> None:
    texts = [prompt.text for prompt in load_prompts()]

    assert len(set(texts)) == len(texts)


def test_every_prompt_fits_the_context(tokenizer: Tokenizer) -> None:
    prompts = load_prompts()
    lengths = [len(ids) for ids in tokenizer.encode_batch([prompt.text for prompt in prompts])]
    context_length = demo_settings("emulated").context_length

    assert min(lengths) >= 500
    assert max(lengths) + MAX_NEW_TOKENS <= context_length
    # Another model's tokenizer may need more tokens for the same text.
    assert max(len(prompt.text) for prompt in prompts) <= 11_000


def test_prefixes_fit_two_kv_caches_but_not_one(tokenizer: Tokenizer) -> None:
    folder = resources.files("preble") / "data" / "demo"
    prefixes = [path.read_text() for path in folder.iterdir() if path.name.endswith(".txt")]
    total = sum(len(ids) for ids in tokenizer.encode_batch(prefixes))
    capacity = demo_settings("emulated").kv_capacity_tokens

    assert capacity < total < 1.5 * capacity


def test_a_cpu_is_asked_less_of_the_same(tokenizer: Tokenizer) -> None:
    settings = demo_settings("sglang")
    small = load_prompts(is_small=True)
    whole = {prompt.prefix: prompt.text for prompt in load_prompts()}
    ids = tokenizer.encode_batch([prompt.text for prompt in small])

    assert {prompt.prefix for prompt in small} == whole.keys()
    assert 32 <= len(small) < 48
    # What a chat adds, and another tokenizer.
    assert 1.1 * max(map(len, ids)) + 32 + MAX_NEW_TOKENS <= settings.context_length
    prefixes = {prompt.prefix: prompt.text.removesuffix(prompt.question) for prompt in small}
    total = sum(len(ids) for ids in tokenizer.encode_batch(list(prefixes.values())))
    assert settings.kv_capacity_tokens < total < 1.5 * settings.kv_capacity_tokens
    assert all(whole[name].startswith(prefix.rstrip()) for name, prefix in prefixes.items())


def test_an_own_model_gets_the_whole_demo_and_its_own_limits() -> None:
    assert demo_defaults(load_settings({}, engine="sglang", model_path="/models/big")) == {}


def test_prompt_asks_for_a_short_greedy_answer() -> None:
    job = load_prompts()[0].job

    assert job["sampling_params"] == {"max_new_tokens": 24, "temperature": 0.0, "stop": ["\n"]}


@pytest.mark.parametrize(
    "text",
    ["", " a  b\n\n\tc ", "ünïcödé 日本語 🎉", "\x00\x07", "don't,  'really' .", "<|im_end|>"],
)
def test_embedded_tokenizer_loses_nothing(text: str, tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode(text).ids

    assert tokenizer.decode(ids, skip_special_tokens=False) == text


def test_figures_add_up_what_the_jobs_tell() -> None:
    jobs = [
        ended_job("a"),
        ended_job("b", instance="gpu1", latency_s=3.0),
        failed_job("c"),
    ]

    figures = round_figures("e2", jobs, wall_s=4.0)

    assert (figures.num_jobs, figures.num_completed, figures.is_complete) == (3, 2, False)
    assert figures.jobs_per_instance == {"gpu0": 1, "gpu1": 1, "none": 1}
    assert (figures.predicted_hit_tokens, figures.delivered_hit_tokens) == (1520, 1500)
    assert figures.hit_rate == 0.75
    assert figures.mean_latency_s == pytest.approx(5 / 3)
    assert figures.p99_latency_s == 3.0


class Api:
    """An api that ends each job at its second look, and counts what is under way."""

    def __init__(self) -> None:
        self.under_way: set[str] = set()
        self.most_under_way = 0
        self.calls: list[int] = []
        self._looks: Counter[str] = Counter()

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        return self._submit(request) if request.method == "POST" else self._show(request)

    def _submit(self, request: httpx2.Request) -> httpx2.Response:
        ids = [job["prompt"] for job in json.loads(request.content)]
        self.calls.append(len(ids))
        self.under_way |= set(ids)
        self.most_under_way = max(self.most_under_way, len(self.under_way))
        return httpx2.Response(202, json={"data": [{"id": job_id} for job_id in ids]})

    def _show(self, request: httpx2.Request) -> httpx2.Response:
        asked = request.url.params["ids"].split(",")
        self._looks.update(asked)
        ended = [job_id for job_id in asked if self._looks[job_id] == 2]
        self.under_way -= set(ended)
        data = [{"id": job_id, "status": "completed", "created_at": 1.0} for job_id in ended]
        return httpx2.Response(200, json={"data": data, "missing": []})


def test_round_keeps_a_fixed_number_of_users_waiting() -> None:
    api, clock = Api(), ManualClock()
    progress: list[int] = []
    jobs = [{"prompt": str(number)} for number in range(90)]

    with Client(
        "http://api.test",
        transport=httpx2.MockTransport(api),
        clock=clock,
        sleep=clock.advance,
    ) as client:
        ended, _ = run_round(client, jobs, progress.append)

    assert [job.id for job in ended] == [str(number) for number in range(90)]
    assert api.most_under_way == NUM_USERS
    assert api.calls == [8] * 11 + [2]
    assert progress[-1] == 90


def printed(show: Callable[[Console], None]) -> str:
    console = Console(width=100, record=True, file=Path("/dev/null").open("w"))  # noqa: SIM115
    with console.file:
        show(console)
    return console.export_text()


def test_table_has_a_column_for_each_policy() -> None:
    rounds = [round_figures(name, [ended_job("a")], wall_s=4.0) for name in ("round_robin", "e2")]

    text = printed(lambda console: show_figures(console, rounds))

    assert "round_robin" in text
    assert "75.0%" in text
    assert "1 of 1" in text


def test_first_failure_is_explained() -> None:
    text = printed(lambda console: show_failure(console, [ended_job("a"), failed_job("b")]))

    assert text == "job b failed: engine_refused: too long\n"


def test_progress_without_a_terminal_is_a_line_for_each_quarter() -> None:
    def show(console: Console) -> None:
        with progress_of(console, "e2", 96) as on_progress:
            for ended in range(97):
                on_progress(ended)

    assert printed(show).splitlines() == [
        f"e2           {ended} of 96 jobs ended" for ended in (24, 48, 72, 96)
    ]


def test_questions_and_answers_are_shown_in_a_line() -> None:
    prompt = next(prompt for prompt in load_prompts() if prompt.prefix == "iqbal")

    assert (
        asked(prompt) == "Question: What was the unifying factor for the ummah according to Iqbal?"
    )
    assert shown(" four\n and  more") == "four and more"
    assert len(shown("x" * 500)) == 89


def test_figures_are_written_as_json(tmp_path: Path) -> None:
    jobs = [ended_job("a")]
    figures = round_figures("e2", jobs, wall_s=4.0)
    prompts = load_prompts()[:1]

    save_figures(tmp_path / "figures.json", Settings(engine="emulated"), [figures], prompts, jobs)

    written = json.loads((tmp_path / "figures.json").read_text())
    assert written["engine"] == "emulated"
    assert written["rounds"][0]["hit_rate"] == 0.75
    assert written["rounds"][0]["num_with_hits"] == 1
    assert jobs[0].result
    assert written["answers"] == [[asked(prompts[0]), jobs[0].result.text]]


def test_engine_that_cannot_be_flushed_stops_the_demo() -> None:
    settings = Settings(engine="http", engine_url="http://127.0.0.1:9")

    with pytest.raises(FlushFailed, match=r"http://127\.0\.0\.1:9"):
        flush_engines(settings)


def test_emulated_engines_need_no_flush() -> None:
    flush_engines(Settings(engine="emulated", engine_url="http://127.0.0.1:9"))
