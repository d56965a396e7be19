"""The environments that engines run in, and the model they serve where none is named.

An engine brings gigabytes of packages and its own versions of them, so it never shares an
environment with Preble: each kind of machine has one, made from a lock with hashes.
"""

from preble.engine_env.errors import EngineEnvError, EngineNotInstalled
from preble.engine_env.install import install, remove
from preble.engine_env.layout import KINDS, EngineEnvKind, env_folder, is_installed
from preble.engine_env.machine import Machine, why_not
from preble.engine_env.model import make_embedded_model, remove_embedded_model
from preble.engine_env.python import find_engine_python, require_engine

__all__ = [
    "KINDS",
    "EngineEnvError",
    "EngineEnvKind",
    "EngineNotInstalled",
    "Machine",
    "env_folder",
    "find_engine_python",
    "install",
    "is_installed",
    "make_embedded_model",
    "remove",
    "remove_embedded_model",
    "require_engine",
    "why_not",
]
