"""Tokenizers and chat templates from local files, equal to what transformers makes of them."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

import preble
from preble.errors import ConfigError, InvalidJob
from preble.tokenizer import Tokenizer, is_hub_id, load_tokenizer

EMBEDDED = Path(preble.__file__).parent / "data" / "tokenizer"
TEXTS = [
    "Hello, world!", "", " ", "  two  spaces\n\n and lines\t", "naïve café 你好 😀",
    "a <|im_end|> inside", "x" * 500,
]  # fmt: skip
CHATS = [
    [{"role": "user", "content": "Hi <there> & 'you'"}],
    [
        {"role": "system", "content": "Be brief.\n"},
        {"role": "user", "content": "  Hi"},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "你好"},
    ],
]
TEMPLATE = """
{%- if messages[0]['role'] == 'assistant' %}{{ raise_exception('must not begin it') }}{% endif %}
{{- bos_token }}
{%- for message in messages %}
    {% if loop.index0 > 5 %}
        {% break %}
    {% endif %}
    {%- if message.role == 'assistant' %}
[{% generation %}{{ message.content }}{% endgeneration %}]
    {%- else %}
{{ message['role'] | upper }}: {{ message.content.strip() }} {{ message | tojson }}
    {%- endif %}
{%- endfor %}
{%- if tools is not none or documents %}never{% endif %}
{%- if add_generation_prompt %}
GO{% endif %}"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's folder: byte-level BPE that puts `<s>` first and was saved with truncation."""
    folder = tmp_path_factory.mktemp("tiny")
    core = tokenizers.Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<s>", "</s>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    core.train_from_iterator(["the cat sat on the mat"] * 3, trainer)
    core.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 0)])
    core.enable_truncation(max_length=4)  # pyright: ignore[reportUnknownMemberType]
    core.enable_padding(length=8)  # pyright: ignore[reportUnknownMemberType]
    core.save(str(folder / "tokenizer.json"))
    write_config(folder, chat_template=TEMPLATE)
    return folder


def write_config(folder: Path, **config: object) -> None:
    common = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": {"__type": "AddedToken", "content": "<s>"},
        "eos_token": "</s>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(common | config))


def copy(folder: Path, to: Path) -> Path:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (to / name).write_bytes((folder / name).read_bytes())
    return to


def transformers_tokenizer(folder: Path) -> Any:  # noqa: ANN401  untyped library
    library: Any = importlib.import_module("transformers")
    return library.AutoTokenizer.from_pretrained(str(folder), local_files_only=True)


@pytest.fixture(params=["embedded", "tiny"])
def folder(request: pytest.FixtureRequest, tiny: Path) -> Path:
    return EMBEDDED if request.param == "embedded" else tiny


def test_ids_and_texts_are_those_of_transformers(folder: Path) -> None:
    ours, theirs = load_tokenizer(str(folder)), transformers_tokenizer(folder)
    for text, ids in zip(TEXTS, ours.encode(TEXTS), strict=True):
        assert ids == theirs(text)["input_ids"]
        assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True)


@pytest.mark.parametrize("chat", CHATS)
def test_chats_are_those_of_transformers(folder: Path, chat: list[dict[str, str]]) -> None:
    ours, theirs = load_tokenizer(str(folder)), transformers_tokenizer(folder)
    text = ours.render_chat(chat)
    assert text == theirs.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    ids = theirs.apply_chat_template(chat, add_generation_prompt=True)["input_ids"]
    assert ours.encode([text], add_special_tokens=False) == [ids]


def test_embedded_is_the_packages_own() -> None:
    embedded = load_tokenizer("embedded")
    assert embedded.fingerprint == load_tokenizer(str(EMBEDDED)).fingerprint
    assert embedded.vocab_size == 16_384


def test_raw_prompt_gets_the_special_tokens_and_a_rendered_chat_does_not(tiny: Path) -> None:
    tokenizer = load_tokenizer(str(tiny))
    [raw], [chat] = tokenizer.encode(["cat"]), tokenizer.encode(["cat"], add_special_tokens=False)
    assert raw == [0, *chat]


def test_long_text_is_neither_cut_nor_filled_up(tiny: Path) -> None:
    tokenizer = load_tokenizer(str(tiny))
    text = "the cat sat on the mat " * 20
    short, long = tokenizer.encode(["a", text])
    assert len(short) == 2
    assert tokenizer.decode(long) == text


def test_vocabulary_ends_after_the_highest_id(tiny: Path) -> None:
    tokenizer = load_tokenizer(str(tiny))
    core = tokenizers.Tokenizer.from_file(str(tiny / "tokenizer.json"))
    assert core.id_to_token(tokenizer.vocab_size - 1) is not None
    assert core.id_to_token(tokenizer.vocab_size) is None


def test_fingerprint_changes_with_the_tokens_and_with_the_template(
    tiny: Path, tmp_path: Path
) -> None:
    before = load_tokenizer(str(copy(tiny, tmp_path))).fingerprint
    assert before == load_tokenizer(str(tiny)).fingerprint
    write_config(tmp_path, chat_template=TEMPLATE + " ")
    other_template = load_tokenizer(str(tmp_path)).fingerprint
    definition = (tmp_path / "tokenizer.json").read_text()
    (tmp_path / "tokenizer.json").write_text(definition + "\n")
    other_tokens = load_tokenizer(str(tmp_path)).fingerprint
    assert len({before, other_template, other_tokens}) == 3


def test_template_may_refuse(tiny: Path) -> None:
    chat = [{"role": "assistant", "content": "Hi"}]
    with pytest.raises(InvalidJob, match="must not begin it") as caught:
        load_tokenizer(str(tiny)).render_chat(chat)
    assert caught.value.field == "messages"


def test_template_that_breaks_on_the_messages_refuses_them(tiny: Path, tmp_path: Path) -> None:
    write_config(copy(tiny, tmp_path), chat_template="{{ messages[0].content + 1 }}")
    with pytest.raises(InvalidJob, match="chat template refuses"):
        load_tokenizer(str(tmp_path)).render_chat([{"role": "user", "content": "Hi"}])


def test_broken_template_is_told_with_the_first_chat(tiny: Path, tmp_path: Path) -> None:
    write_config(copy(tiny, tmp_path), chat_template="{% broken")
    with pytest.raises(InvalidJob, match="chat template refuses"):
        load_tokenizer(str(tmp_path)).render_chat([{"role": "user", "content": "Hi"}])


def test_template_cannot_reach_out_of_its_sandbox(tiny: Path, tmp_path: Path) -> None:
    write_config(copy(tiny, tmp_path), chat_template="{{ ''.__class__.__mro__ }}")
    with pytest.raises(InvalidJob, match="unsafe"):
        load_tokenizer(str(tmp_path)).render_chat([{"role": "user", "content": "Hi"}])


def test_model_without_a_template_takes_no_chats(tiny: Path, tmp_path: Path) -> None:
    (copy(tiny, tmp_path) / "tokenizer_config.json").unlink()
    tokenizer = load_tokenizer(str(tmp_path))
    assert tokenizer.encode(["cat"])[0]
    with pytest.raises(InvalidJob, match="no chat template"):
        tokenizer.render_chat([{"role": "user", "content": "Hi"}])


@pytest.mark.parametrize("where", ["file", "named", "old name"])
def test_template_is_found_where_models_keep_it(tiny: Path, tmp_path: Path, where: str) -> None:
    copy(tiny, tmp_path)
    if where == "file":
        write_config(tmp_path, chat_template="wrong")
        (tmp_path / "chat_template.jinja").write_text("right")
    elif where == "named":
        named = [{"name": "tools", "template": "wrong"}, {"name": "default", "template": "right"}]
        write_config(tmp_path, chat_template=named)
    else:
        write_config(tmp_path, chat_template="right")
    chat = [{"role": "user", "content": "Hi"}]
    assert load_tokenizer(str(tmp_path)).render_chat(chat) == "right"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer.json", b""), ("tokenizer.json", b"{}"), ("tokenizer_config.json", b"nope"),
        ("chat_template.jinja", b"\xff"),
    ],
)  # fmt: skip
def test_broken_file_is_one_line(tiny: Path, tmp_path: Path, name: str, content: bytes) -> None:
    (copy(tiny, tmp_path) / name).write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_tokenizer(str(tmp_path))
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("is_folder", [False, True])
def test_missing_folder_or_file_is_one_line(tmp_path: Path, *, is_folder: bool) -> None:
    folder = tmp_path if is_folder else tmp_path / "none"
    with pytest.raises(ConfigError, match=r"tokenizer\.json") as caught:
        load_tokenizer(str(folder))
    assert "\n" not in str(caught.value)


def test_special_tokens_are_left_out_of_text(tiny: Path) -> None:
    tokenizer: Tokenizer = load_tokenizer(str(tiny))
    assert tokenizer.decode([0, *tokenizer.encode(["cat"])[0], 1]) == "cat"


def hub_cache(home: Path, tiny: Path, name: str, files: tuple[str, ...]) -> Path:
    """A model as `huggingface_hub` keeps what it downloaded; returns the folder."""
    kept = home / "hub" / f"models--{name.replace('/', '--')}"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text("0123abcd")
    snapshot = kept / "snapshots" / "0123abcd"
    snapshot.mkdir(parents=True)
    for file in files:
        (snapshot / file).write_bytes((tiny / file).read_bytes())
    return snapshot


def load_offline(home: Path, name: str) -> subprocess.CompletedProcess[str]:
    """Load by name where no hub can be reached; the library reads its variables on import."""
    code = (
        "import sys; from preble.errors import ConfigError; from preble.tokenizer import *\n"
        "try: print(load_tokenizer(sys.argv[1]).fingerprint)\n"
        "except ConfigError as error: sys.exit(str(error))"
    )
    environ = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        [sys.executable, "-c", code, name],
        cwd=home, env=environ, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_name_on_the_hub_is_what_was_downloaded_of_it(tiny: Path, tmp_path: Path) -> None:
    hub_cache(tmp_path, tiny, "org/model-1.5", ("tokenizer.json", "tokenizer_config.json"))
    loaded = load_offline(tmp_path, "org/model-1.5")
    assert loaded.stdout.strip() == load_tokenizer(str(tiny)).fingerprint, loaded.stderr


@pytest.mark.parametrize("is_known", [False, True], ids=["unknown", "without tokenizer.json"])
def test_name_that_the_hub_does_not_give_is_one_line(
    tiny: Path, tmp_path: Path, *, is_known: bool
) -> None:
    if is_known:
        hub_cache(tmp_path, tiny, "org/model", ("tokenizer_config.json",))
    refused = load_offline(tmp_path, "org/model")
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "PREBLE_TOKENIZER" in refused.stderr
    assert ("tokenizer.json" if is_known else "'org/model'") in refused.stderr


def test_folder_that_looks_like_a_name_on_the_hub_is_a_folder(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "org" / "model").mkdir(parents=True)
    copy(tiny, tmp_path / "org" / "model")
    monkeypatch.chdir(tmp_path)
    assert load_tokenizer("org/model").fingerprint == load_tokenizer(str(tiny)).fingerprint


@pytest.mark.parametrize("name", ["embedded", "/a/b", "a/b/c", "../b", "./b", "a/", "a b/c", "~/b"])
def test_other_names_are_no_names_on_the_hub(name: str) -> None:
    assert not is_hub_id(name)
