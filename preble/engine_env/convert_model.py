"""Turns a quantized model (GGUF) into a plain one that SGLang loads.

Run by path, by an engine environment's Python: it may import nothing of Preble.

    python -I convert_model.py FOLDER FILE RESULT
"""

import sys
from importlib import import_module

# Its types are those of the environment it runs in, not of Preble's.
transformers = import_module("transformers")


def convert(folder: str, file: str, result: str) -> None:
    """Write `result` with weights, configuration, tokenizer and chat template.

    float32, in which a CPU computes fastest and nothing is lost.
    """
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder,
        gguf_file=file,
        dtype="float32",
        # Without it the weights stay quantized, and cannot be saved.
        quantization_config=transformers.GgufConfig(dequantize=True),
    )
    model.save_pretrained(result)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=file)
    tokenizer.save_pretrained(result)


if __name__ == "__main__":
    convert(*sys.argv[1:])
