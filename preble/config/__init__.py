"""What a process can be told, and who tells it: flags, environment, a TOML file, defaults.

settings.py   every setting, its default, its meaning
sources.py    TOML, environment, files of secrets; unknown names are refused
presets.py    defaults that follow from the engine, or a folder
loading.py    all of them together: the only way to Settings
"""

from preble.config.loading import (
    Configuration,
    flat_environ,
    load_configuration,
    load_settings,
    to_environ,
)
from preble.config.settings import (
    LONGEST_LEASE_S,
    Binding,
    Device,
    Durability,
    EngineKind,
    PolicyName,
    Priority,
    Settings,
    WaitOrder,
    check_policy,
)
from preble.config.sources import ENV_PREFIX, unknown_setting

__all__ = [
    "ENV_PREFIX",
    "LONGEST_LEASE_S",
    "Binding",
    "Configuration",
    "Device",
    "Durability",
    "EngineKind",
    "PolicyName",
    "Priority",
    "Settings",
    "WaitOrder",
    "check_policy",
    "flat_environ",
    "load_configuration",
    "load_settings",
    "to_environ",
    "unknown_setting",
]
