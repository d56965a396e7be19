"""docs/reference/cli.md: every command, from typer's own description of it."""

import inspect
from collections.abc import Iterator
from typing import Any, Final

import typer

from preble import cli
from preble.config import ENV_PREFIX
from tools.reference.configuration import default_of, flag_helps
from tools.reference.markdown import anchor, code, document, paragraph, sentence, table

_INTRODUCTION: Final = """\
`preble COMMAND --help` says the same. A flag that is a setting counts before its variable in the
environment, and that before the [default](configuration.md). Results go to stdout, all else to
stderr; an error is one line there."""

# Typer brings its own copy of click, which declares no types.
Command = Any


def page() -> str:
    """The whole page."""
    root = typer.main.get_command(cli.app)
    commands = list(_commands(root, "preble"))
    rows = [
        [f"[{code(name)}](#{anchor(name)})", sentence(_first(command))]
        for name, command in commands
    ]
    return document(
        "Commands", _INTRODUCTION, "## Exit status", _statuses(),
        "## All commands", table(["Command", ""], rows), _command("preble", root),
        *(_command(name, command) for name, command in commands),
    )  # fmt: skip


def _commands(command: Command, name: str) -> Iterator[tuple[str, Command]]:
    """All that can be run, in the order of `--help`."""
    below = getattr(command, "commands", None)
    if below is None:
        yield name, command
        return
    for word, each in below.items():
        if not each.hidden:
            yield from _commands(each, f"{name} {word}")


def _statuses() -> str:
    """What the command line says of itself."""
    said = paragraph((cli.__doc__ or "").partition("\n")[2])
    return sentence(said.removeprefix("Exit status: "))


def _command(name: str, command: Command) -> str:
    context = command.context_class(command, info_name=name)
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    shown = [each for each in command.params if not each.hidden]
    parts = [f"## {code(name)}", f"```\n{usage}\n```", paragraph(_help(command))]
    return "\n\n".join([*parts, "\n".join(_parameter(each, context) for each in shown)])


def _parameter(parameter: Any, context: Any) -> str:  # noqa: ANN401 - see Command
    """A line of the list: names, type, meaning, and the setting that it is, if it is one."""
    names, said = parameter.get_help_record(context)
    words = " ".join(said.split())
    words = words if words.endswith("]") else sentence(words)
    setting = _setting_of(parameter)
    return f"- {code(names)}: {words}{setting}" if words else f"- {code(names)}{setting}"


def _setting_of(parameter: Any) -> str:  # noqa: ANN401 - see Command
    """The variable and default of a flag that is a setting."""
    name = parameter.name
    if parameter.default is not None or parameter.help not in flag_helps().get(name, ()):
        return ""
    preset = f", default `{default_of(name)}`" if default_of(name) else ""
    return f" [`{ENV_PREFIX}{name.upper()}`](configuration.md#{name}){preset}."


def _first(command: Command) -> str:
    return _help(command).partition("\n\n")[0]


def _help(command: Command) -> str:
    return inspect.cleandoc(command.help or "")
