"""docs/reference/configuration.md: every setting, from `preble.config.Settings`."""

import ast
import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Final, get_args

import msgspec
import typer

from preble.cli import options
from preble.config import ENV_PREFIX, Settings, load_settings
from tools.reference.kinds import Schema, kind, meaning
from tools.reference.markdown import code, document, paragraph, sentence, table

_INTRODUCTION: Final = """\
Every setting is an environment variable, `PREBLE_` and its name, and a key of `preble.toml`; some
are flags of [commands](cli.md), too. A flag wins over the variable, and that over the file.
`preble config show` prints what counts and where it came from;
[Configuration](../howto/configuration.md) tells the rest, and [Tuning](../howto/tuning.md) which
of them matter."""

_PRESETS: Final = "In place of the defaults above; `~` is your home."

_HOME: Final = {"HOME": "~"}
_NO_CASE: Final = {"PREBLE_ENGINE": "emulated"}
_CASES: Final[Mapping[str, Mapping[str, str]]] = {
    "engine `sglang`, with the embedded model (nothing said)": {},
    "engine `sglang`, with a model of your own": {"PREBLE_MODEL_PATH": "/models/my-model"},
    "engine `noop`": {"PREBLE_ENGINE": "noop"},
}
_UNITS: Final = {"_s": "seconds", "_ms": "milliseconds", "_bytes": "bytes", "_tokens": "tokens"}
_RATE: Final = "_per_s"
_SECTION: Final = re.compile(r"^    # (?P<title>.+?)\.?$")
_FIELD: Final = re.compile(r"^    (?P<name>\w+): ")
_FIRST_SECTION: Final = "Everywhere"


def page() -> str:
    """The whole page."""
    schema = msgspec.json.schema(Settings)["$defs"]["Settings"]["properties"]
    words = _words()
    sections = [
        part
        for title, names in _sections().items()
        for part in (f"## {title}", *(_setting(name, schema[name], words) for name in names))
    ]
    return document(
        "Configuration", _INTRODUCTION, *sections,
        "## Defaults that follow from the engine", _PRESETS, *_presets(),
    )  # fmt: skip


def flag_helps() -> dict[str, list[str]]:
    """How the flags of settings are explained where they are declared, by the setting's name."""
    found: dict[str, list[str]] = {}
    for name, alias in vars(options).items():
        for each in get_args(alias)[1:]:
            if isinstance(each, typer.models.OptionInfo):
                found.setdefault(_setting_of(name, each), []).append(each.help or "")
    return {name: helps for name, helps in found.items() if name in Settings.__struct_fields__}


def _setting_of(alias: str, option: typer.models.OptionInfo) -> str:
    """Which setting a flag is: its own name says so, else that of its alias."""
    # Annotated, an option takes its first name for a default.
    names = (option.default, *(option.param_decls or ()))
    own = [each for each in names if isinstance(each, str) and each.startswith("--")]
    return own[0][2:].replace("-", "_") if own else re.sub(r"(?<!^)([A-Z])", r"_\1", alias).lower()


def default_of(name: str) -> str:
    """A setting's default, as it would be written."""
    return str(getattr(Settings(), name))


def _setting(name: str, schema: Schema, words: Mapping[str, str]) -> str:
    helps = flag_helps().get(name, [])
    flag = [f"flag `--{name.replace('_', '-')}`"] if helps else []
    preset = f"default `{default_of(name)}`{_size(name)}" if default_of(name) else "not set"
    facts = [code(ENV_PREFIX + name.upper()), *flag, ", ".join(_type(name, schema)), preset]
    said = words.get(name) or meaning(schema) or next(iter(helps), "")
    return f"### {code(name)}\n\n{' · '.join(facts)}\n\n{sentence(paragraph(said))}"


def _type(name: str, schema: Schema) -> Iterator[str]:
    # In the environment a word needs no quotes.
    yield kind(schema).replace('"', "")
    if name.endswith(_RATE):
        return
    yield from (unit for suffix, unit in _UNITS.items() if name.endswith(suffix))


def _words() -> dict[str, str]:
    """What stands below each field in the source."""
    [body] = [node for node in _tree().body if isinstance(node, ast.ClassDef)]
    found: dict[str, str] = {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            match below:
                case ast.Expr(ast.Constant(str(text))):
                    found[field.target.id] = text
                case _:
                    pass
    return found


def _sections() -> dict[str, list[str]]:
    """Names of the settings by the comment that they stand under."""
    title = _FIRST_SECTION
    found: dict[str, list[str]] = {}
    for line in inspect.getsource(Settings).splitlines():
        if heading := _SECTION.match(line):
            title = heading["title"].partition(":")[0]
        elif (field := _FIELD.match(line)) and field["name"] in Settings.__struct_fields__:
            found.setdefault(title, []).append(field["name"])
    return found


def _tree() -> ast.Module:
    return ast.parse(inspect.getsource(Settings))


def _presets() -> Iterator[str]:
    """For each case the settings whose defaults are not as above."""
    plain = load_settings({**_HOME, **_NO_CASE})
    for case, environ in _CASES.items():
        loaded = load_settings({**_HOME, **environ})
        rows = [
            [code(name), code(str(getattr(loaded, name)))]
            for name in Settings.__struct_fields__
            if getattr(loaded, name) != getattr(plain, name)
            and ENV_PREFIX + name.upper() not in {**_NO_CASE, **environ}
        ]
        yield table([sentence(case)[:-1], "Default"], rows)


def _size(name: str) -> str:
    """A default of bytes in the unit that people use."""
    mib, rest = divmod(int(default_of(name)), 2**20) if name.endswith("_bytes") else (0, 1)
    return "" if rest or not mib else f" ({mib:,} MiB)"
