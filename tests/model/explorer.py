"""Visits every state that can be reached, breadth first, so a counterexample is a shortest one."""

from dataclasses import dataclass, field

from model.properties import broken_rules, broken_step_rules
from model.scripts import Queue
from model.state import State
from model.steps import Kind, Setup, Step
from model.world import World, has_ended


@dataclass
class Broken(Exception):
    """A rule that does not hold, and the shortest way there."""

    rule: str
    trace: list[str]

    def __str__(self) -> str:
        steps = "\n".join(f"{number:3} {label}" for number, label in enumerate(self.trace, 1))
        return f"{self.rule}\n{steps}"


@dataclass
class Explored:
    """What there was."""

    states: list[State] = field(default_factory=list[State])
    steps: int = 0
    came: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    fair_before: list[list[int]] = field(default_factory=list[list[int]])
    """For each state, those from which a fair step leads to it."""

    def trace(self, number: int) -> list[str]:
        """Labels of the steps from the start."""
        labels: list[str] = []
        while number:
            number, label = self.came[number]
            labels.append(label)
        return labels[::-1]


def explore(setup: Setup, queue: Queue) -> Explored:
    """Every state, each with every step.

    Raises:
        Broken: At the first state or step that breaks a rule; else at the first state from
            which fair steps alone do not bring every job to its end.
    """
    world = World(setup, queue)
    found = Explored()
    numbers: dict[State, int] = {}

    def number_of(state: State, parent: int, label: str) -> int:
        number = numbers.setdefault(state, len(numbers))
        if number == len(found.states):
            found.states.append(state)
            found.came.append((parent, label))
            found.fair_before.append([])
            for rule in broken_rules(setup, queue, state):
                raise Broken(rule, found.trace(number))
        return number

    number_of(world.start(), 0, "")
    at = 0
    while at < len(found.states):
        state = found.states[at]
        for step in world.successors(state):
            found.steps += 1
            number = number_of(step.after, at, step.label)
            _require_step(found, at, setup, queue, state, step)
            if step.kind is Kind.FAIR:
                found.fair_before[number].append(at)
        at += 1
    _require_end_in_reach(found)
    return found


def _require_step(
    found: Explored, at: int, setup: Setup, queue: Queue, state: State, step: Step
) -> None:
    for rule in broken_step_rules(setup, queue, state, step):
        raise Broken(rule, [*found.trace(at), step.label])


def _require_end_in_reach(found: Explored) -> None:
    """Backwards along fair steps from all states in which every job has ended."""
    to_visit = [n for n, state in enumerate(found.states) if has_ended(state.redis)]
    can_end = set(to_visit)
    while to_visit:
        for before in found.fair_before[to_visit.pop()]:
            if before not in can_end:
                can_end.add(before)
                to_visit.append(before)
    for number in range(len(found.states)):
        if number not in can_end:
            raise Broken("every_job_can_end", found.trace(number))
