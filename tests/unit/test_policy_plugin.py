"""A policy of one's own, by its import path."""

import re
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import msgspec
import pytest
from policies import Pool

from preble.cli import run
from preble.config import Settings, load_settings
from preble.errors import ConfigError
from preble.policy import Policy, create_policy

Module = Callable[[str], str]

GUIDE = Path(__file__).parents[2] / "docs/howto/own_policy.md"

RULES = """
    from preble.policy.choice import Choice, Rule

    class Last(Rule):
        def __init__(self):
            super().__init__("last", lambda options: Choice(len(options) - 1, "last"))

    def seeded(seed):
        return Rule(f"seeded {seed}", lambda _: Choice(0, "first"))

    def needy(number):
        return Last()

    def nameless():
        return object()

    NUMBER = 1
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Module:
    """Writes a module that can be imported, and gives its name: another for each test."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(text: str) -> str:
        name = f"rules_of_{tmp_path.name}"
        (tmp_path / f"{name}.py").write_text(dedent(text))
        return name

    return write


def test_it_chooses_and_signs_its_decisions(module: Module) -> None:
    policy = create_policy(f"{module(RULES)}:Last")
    assignment = Pool(policy, "abc").assign()
    assert (assignment.policy, assignment.reason) == ("last", "last")
    assert assignment.instance_id == "c"


def test_it_is_made_with_a_seed_if_it_takes_one(module: Module) -> None:
    assert create_policy(f"{module(RULES)}:seeded", seed=7).name == "seeded 7"


def test_each_asking_makes_another(module: Module) -> None:
    path = f"{module(RULES)}:Last"
    assert create_policy(path) is not create_policy(path)


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("{}:nothing", "has no nothing"),
        ("{}:NUMBER", "NUMBER cannot be called: name a class or a function"),
        ("{}:needy", "must be callable without arguments, or with `seed` alone"),
        ("{}:nameless", "the object it makes lacks name, choose, waited"),
        ("no_such_module:mine", "there is no module no_such_module: is its folder in PYTHONPATH"),
        ("{}.rules:mine", "is its folder in PYTHONPATH"),
        ("e3", "no policy is named 'e3'; there are: preble, e2, .*module:attribute"),
        ("..rules:mine", "no policy is named"),
        ("rules:", "no policy is named"),
    ],
)
def test_what_is_no_policy_is_told(module: Module, path: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        create_policy(path.format(module(RULES)))


def test_an_import_that_fails_inside_the_module_is_shown_as_it_is(module: Module) -> None:
    name = module("import no_such_dependency")
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency"):
        create_policy(f"{name}:mine")


def test_settings_take_a_path_and_bind_it_eagerly() -> None:
    settings = load_settings({"PREBLE_POLICY": "my_rules:mine"})
    assert (settings.policy, settings.is_late) == ("my_rules:mine", False)
    assert msgspec.structs.replace(settings, binding="late").is_late


def test_settings_refuse_what_is_neither_a_name_nor_a_path() -> None:
    with pytest.raises(ConfigError, match="no policy is named 'e3'; there are: preble, e2"):
        load_settings({"PREBLE_POLICY": "e3"})
    with pytest.raises(ConfigError, match="no policy is named"):
        Settings(policy="my rules:mine")


def test_the_guide_s_example_beats_blindness_in_the_simulator(
    module: Module, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a user runs it: both bindings, beside a policy that sees no cache."""
    [example] = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    path = f"{module(example)}:shortest_queue"
    assert isinstance(create_policy(path), Policy)
    command = "simulate --workload toolbench --requests 200 --instances 2 --rps 12 --jobs 1"
    flags = ["--policy", f"round_robin,{path}", "--binding", "eager,late", "--json", "-"]
    assert run([*command.split(), *flags]) == 0
    runs = msgspec.json.decode(capsys.readouterr().out)["runs"]
    hits = {(run["policy"], run["binding"]): run["hit_rates"]["delivered"] for run in runs}
    assert hits[path, "eager"] > hits["round_robin", "eager"]
    assert hits[path, "late"] > hits["round_robin", "late"]
