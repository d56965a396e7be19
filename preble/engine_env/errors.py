"""What can go wrong with engine environments.

PrebleError
├── ConfigError
│   └── EngineNotInstalled   the engine that was asked for is not there: names the remedies
└── EngineEnvError           an environment could not be made, repaired or removed
"""

from preble.errors import ConfigError, PrebleError


class EngineNotInstalled(ConfigError):
    """No installed environment can run what was asked for."""


class EngineEnvError(PrebleError):
    """Work on an environment failed; running the command again continues it."""
