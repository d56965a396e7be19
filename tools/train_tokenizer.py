"""Train the tokenizer of the emulated pool, `preble/data/tokenizer`.

It exists so that a fresh machine can count, hash and place tokens with no download; it
belongs to no model. Text comes from files named on the command line: plain text, JSON or
JSON lines, of which every string is taken.

    python tools/train_tokenizer.py --out preble/data/tokenizer TEXT [TEXT ...]
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final, cast

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

VOCAB_SIZE: Final = 16_384
END_OF_TEXT: Final = "<|endoftext|>"
TURN_START: Final = "<|im_start|>"
TURN_END: Final = "<|im_end|>"

CHAT_TEMPLATE: Final = (
    "{% for message in messages %}"
    f"{TURN_START}{{{{ message['role'] }}}}\n{{{{ message['content'] }}}}{TURN_END}\n"
    "{% endfor %}"
    f"{{% if add_generation_prompt %}}{TURN_START}assistant\n{{% endif %}}"
)

CONFIG: Final = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "chat_template": CHAT_TEMPLATE,
    "bos_token": TURN_START,
    "eos_token": TURN_END,
    "pad_token": END_OF_TEXT,
    "unk_token": END_OF_TEXT,
    "additional_special_tokens": [TURN_START, TURN_END],
    "clean_up_tokenization_spaces": False,
    "model_max_length": 1_048_576,
}


def strings(value: object) -> Iterator[str]:
    """Every string inside a JSON value, keys left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in cast("list[object]", value):
            yield from strings(item)
    elif isinstance(value, dict):
        for item in cast("dict[str, object]", value).values():
            yield from strings(item)


def texts(path: Path) -> Iterator[str]:
    """All text of a file: strings of JSON or JSON lines, else the file as it is."""
    content = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        yield from strings(json.loads(content))
    elif path.suffix == ".jsonl":
        for line in content.splitlines():
            yield from strings(json.loads(line))
    else:
        yield content


def train(paths: list[Path]) -> Tokenizer:
    """A byte-level BPE: it loses no byte of any text, for there is no normalizer."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=[END_OF_TEXT, TURN_START, TURN_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((text for path in paths for text in texts(path)), trainer)
    return tokenizer


def save(tokenizer: Tokenizer, folder: Path) -> None:
    """Write `tokenizer.json` and `tokenizer_config.json`. Changes: the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    config = json.dumps(CONFIG, indent=2, ensure_ascii=False)
    (folder / "tokenizer_config.json").write_text(config + "\n", encoding="utf-8")


def main() -> None:
    """Read the arguments, train, save."""
    parser = argparse.ArgumentParser(description="Train the tokenizer of the emulated pool.")
    parser.add_argument("text", nargs="+", type=Path, help="text, .json or .jsonl files")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    arguments = parser.parse_args()
    save(train(arguments.text), arguments.out)


if __name__ == "__main__":
    main()
