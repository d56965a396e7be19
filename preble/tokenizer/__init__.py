"""Text to token ids and back, for one pool's model, from a folder or from the hub.

Tokens are the business of the `tokenizers` library, chats of transformers, which is imported with
the first chat: that takes a second, and a worker never needs it. What this adds is speed: a text
that begins as an earlier one did is tokenized from where they differ (`TextCache`).
"""

from preble.tokenizer.cache import TextCache, TextTokens
from preble.tokenizer.chat import ChatTemplate, Message
from preble.tokenizer.loading import EMBEDDED, is_hub_id, load_tokenizer, tokenizer_folder
from preble.tokenizer.token_texts import TokenText, TokenTexts
from preble.tokenizer.tokenizer import Tokenizer

__all__ = [
    "EMBEDDED",
    "ChatTemplate",
    "Message",
    "TextCache",
    "TextTokens",
    "TokenText",
    "TokenTexts",
    "Tokenizer",
    "is_hub_id",
    "load_tokenizer",
    "tokenizer_folder",
]
