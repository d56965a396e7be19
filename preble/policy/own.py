"""Policies of one's own: what the callable at an import path, `module:attribute`, makes.

Nothing is registered: the path is all there is, so each process that is given it finds the same.
"""

from collections.abc import Callable
from importlib import import_module
from inspect import signature
from typing import Final

from preble.config import check_policy
from preble.errors import ConfigError
from preble.policy.choice import Policy

_MEMBERS: Final = ("name", "choose", "waited")
"""Of `Policy`."""


def own_policy(path: str, *, seed: int) -> Policy:
    """What the callable at an import path makes.

    Args:
        path: `module:attribute`; the module's folder is in PYTHONPATH.
        seed: For a callable that takes `seed`.

    Raises:
        ConfigError: If the path leads to no such callable, or it makes no policy. What the module
            or the callable itself raises is not caught: its author needs to see where.

    Changes: imports the module, the first time.
    """
    check_policy(path)
    made = _call(path, _find(path), seed)
    if not isinstance(made, Policy):
        lacking = [member for member in _MEMBERS if not hasattr(made, member)]
        msg = f"policy {path}: the {type(made).__name__} it makes lacks {', '.join(lacking)}"
        raise ConfigError(msg)
    return made


def _find(path: str) -> Callable[..., object]:
    module_name, _, attribute = path.partition(":")
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        if not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module is there, and what lacks is one that it imports
        msg = f"policy {path}: there is no module {error.name}: is its folder in PYTHONPATH?"
        raise ConfigError(msg) from None
    if not hasattr(module, attribute):
        msg = f"policy {path}: {module_name} has no {attribute}"
        raise ConfigError(msg)
    found: object = getattr(module, attribute)
    if not callable(found):
        msg = f"policy {path}: {attribute} cannot be called: name a class or a function"
        raise ConfigError(msg)
    return found


def _call(path: str, make: Callable[..., object], seed: int) -> object:
    try:
        parameters = signature(make)
        arguments = {"seed": seed} if "seed" in parameters.parameters else {}
        parameters.bind(**arguments)
    except (TypeError, ValueError):  # too many, or a built-in that does not tell
        msg = f"policy {path}: it must be callable without arguments, or with `seed` alone"
        raise ConfigError(msg) from None
    return make(**arguments)
