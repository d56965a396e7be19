"""Policies that know no caches: what cache-aware ones are compared with."""

from random import Random

from preble.policy.choice import Choice, Options, Rule, cheapest


def round_robin() -> Rule:
    """Each instance in turn, in the order of ids, whatever it holds: the paper's baseline."""
    turn = -1

    def choose(options: Options) -> Choice:
        nonlocal turn
        turn += 1
        return Choice(turn % len(options), "turn")

    return Rule("round_robin", choose)


def random(seed: int) -> Rule:
    """Any instance, each as likely as another; the same seed takes the same turns."""
    chance = Random(seed)  # noqa: S311  # spreads load, hides nothing

    def choose(options: Options) -> Choice:
        return Choice(chance.randrange(len(options)), "chance")

    return Rule("random", choose)


def least_outstanding() -> Rule:
    """The instance with the fewest jobs that have not ended, whatever they cost.

    Known to the paper's release as `lor`. Of equals, the first in the order of ids.
    """

    def choose(options: Options) -> Choice:
        jobs = options.outstanding
        return Choice(cheapest(jobs, jobs), "fewest_jobs", jobs)

    return Rule("least_outstanding", choose)
