"""Which dialect a server speaks, for each has a page that the other lacks; and what it offers."""

import logging

from preble.errors import ConfigError
from preble_workers.dialect import Dialect, ServerFacts
from preble_workers.server_client import ServerClient
from preble_workers.sglang_dialect import MODEL_INFO, SGLangDialect
from preble_workers.vllm_dialect import VERSION, VLLMDialect

_log = logging.getLogger(__name__)


async def find_dialect(client: ServerClient) -> Dialect:
    """The dialect of the server that `client` reaches.

    Raises:
        ConfigError: If it is none that Preble knows.
        EngineUnavailable: If nothing answers yet.
    """
    if await client.get(MODEL_INFO) is not None:
        return SGLangDialect(client)
    if await client.get(VERSION) is not None:
        return VLLMDialect(client)
    msg = (
        f"{client.url} answers like neither SGLang ({MODEL_INFO}) nor vLLM ({VERSION}): "
        "name an engine's server, without a path"
    )
    raise ConfigError(msg)


def tell(facts: ServerFacts, url: str) -> None:
    """Log what was found at a URL, with a warning for each thing that spoils predictions."""
    server, info, load = facts.server, facts.info, facts.load
    _log.info(
        "%s at %s: %d slots, %d tokens of KV cache in pages of %d, context of %d",
        server, url, info.slots, info.kv_capacity_tokens, info.page_size, info.context_length,
    )  # fmt: skip
    if not info.has_kv_cache:
        _log.warning("%s keeps no prefixes: no job will find any", server)
    if not facts.tells_cached_tokens:
        _log.warning(
            "%s tells no cached tokens, so all delivered hits will read 0: start it with "
            "--enable-prompt-tokens-details",
            server,
        )
    if load and (others := load.running + load.waiting):
        _log.warning("%s has %d requests of others: hits cannot be foretold well", server, others)
