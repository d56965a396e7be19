"""A page of Markdown for an experiment: what is compared first, then all that was measured."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import product

from benchmarks.bootstrap import Interval
from benchmarks.spec import Column, Comparison, Contender, Experiment, Scenario
from benchmarks.summary import Summary

_NOTHING = "-"


def page(experiment: Experiment, summary: Summary) -> str:
    """The whole page; scenarios that were not measured are named, not shown."""
    measured = [each for each in experiment.scenarios if summary.has(each.name)]
    missing = [each.name for each in experiment.scenarios if not summary.has(each.name)]
    lines = [*_head(experiment, summary, missing)]
    if experiment.comparison is not None:
        lines += _comparison(experiment.comparison, measured, summary)
    for scenario in measured:
        lines += _scenario(experiment, scenario, summary)
    return "\n".join(lines) + "\n"


def _head(experiment: Experiment, summary: Summary, missing: Sequence[str]) -> Iterator[str]:
    yield from (f"# {experiment.title}", "", experiment.about, "")
    yield f"Made by `python -m benchmarks {experiment.name}`; seeds: {summary.num_seeds()}. Every"
    yield f"figure of every seed stands in `{experiment.name}.jsonl`; the machine changes none."
    if missing:
        yield from ("", f"Not measured: {', '.join(missing)}.")
    yield from ("", f"![{experiment.title}]({experiment.name}.png)")


# What is compared.


def _comparison(
    comparison: Comparison, scenarios: Iterable[Scenario], summary: Summary
) -> Iterator[str]:
    yield from ("", "## Compared", "", comparison.note, "")
    heads = [f"`{ours}`: {column.head}" for ours in comparison.ours for column in comparison.values]
    has_choice = len(comparison.others) > 1
    bests = [f"best in {column.head}" for column in comparison.values if has_choice]
    yield from _table_head(["", "load", *bests, *heads])
    for scenario in scenarios:
        for load in scenario.loads or (None,):
            share = "" if load is None else f"{load:.0%}"
            yield _line([scenario.name, share, *_compared(comparison, scenario, load, summary)])


def _compared(
    comparison: Comparison, scenario: Scenario, load: float | None, summary: Summary
) -> Iterator[str]:
    found = {
        (ours, column.value): summary.versus(
            scenario.name, load, column.value, ours=ours, others=comparison.others
        )
        for ours in comparison.ours
        for column in comparison.values
    }
    for column in comparison.values if len(comparison.others) > 1 else ():
        versus = [each for (_, value), each in found.items() if value == column.value and each]
        yield f"`{versus[0].best}`" if versus else _NOTHING
    for each in found.values():
        yield _NOTHING if each is None else _ratio(each.interval, is_gain=comparison.is_gain)


def _ratio(interval: Interval, *, is_gain: bool) -> str:
    """Bold if the whole interval is a loss."""
    if is_gain:
        gain = interval.inverse
        text = f"{gain.ratio:.2f} times ({gain.low:.2f} to {gain.high:.2f})"
    else:
        changes = (interval.ratio - 1, interval.low - 1, interval.high - 1)
        change, low, high = (f"{100 * each:+.1f}" for each in changes)
        text = f"{change} % ({low} to {high})"
    return f"**{text}**" if interval.low > 1 else text


# What was measured.


def _scenario(experiment: Experiment, scenario: Scenario, summary: Summary) -> Iterator[str]:
    engine = scenario.pool.engine
    columns = list(_measured(experiment.columns, scenario, summary))
    yield from ("", f"## {scenario.name}", "")
    yield f"{len(scenario.pool.speeds)} instances of `{engine.cost_model}`,"
    yield f"{engine.kv_capacity_tokens:,} KV tokens each."
    if len(scenario.loads) > 1:
        yield from _over_loads(columns, experiment.bounds, scenario, summary)
    else:
        yield from _in_columns(columns, experiment.bounds, scenario, summary)


def _measured(columns: Iterable[Column], scenario: Scenario, summary: Summary) -> Iterator[Column]:
    """Those that some contender has."""
    for column in columns:
        cells = product(scenario.contenders, scenario.loads or (None,))
        if any(summary.values(scenario.name, who.name, load, column.value) for who, load in cells):
            yield column


def _over_loads(
    columns: Sequence[Column], bounds: Iterable[Column], scenario: Scenario, summary: Summary
) -> Iterator[str]:
    """A column for each load."""
    yield f"In each field: {' / '.join(column.head for column in columns)}."
    yield ""
    yield from _table_head(["", *(_load(scenario, load, summary) for load in scenario.loads)])
    for contender in scenario.contenders:
        fields = [
            " / ".join(_values(columns, scenario, contender, load, summary))
            for load in scenario.loads
        ]
        yield _line([f"`{contender.name}`", *fields])
    for bound in bounds:
        fields = [_bound(bound, scenario, load, summary) for load in scenario.loads]
        yield _line([f"*{bound.head}*", *fields])


def _in_columns(
    columns: Sequence[Column], bounds: Iterable[Column], scenario: Scenario, summary: Summary
) -> Iterator[str]:
    """A column for each figure."""
    load = scenario.loads[0] if scenario.loads else None
    if load is not None:
        yield f"Load {_load(scenario, load, summary)}."
    yield ""
    yield from _table_head(["", *(column.head for column in columns)])
    for contender in scenario.contenders:
        fields = _values(columns, scenario, contender, load, summary)
        yield _line([f"`{contender.name}`", *fields])
    below = [f"{each.head}: {_bound(each, scenario, load, summary)}" for each in bounds]
    if below:
        yield from ("", "; ".join(below) + ".")


def _load(scenario: Scenario, load: float, summary: Summary) -> str:
    """With the rate that it is, a mean over the seeds."""
    rates = (summary.mean(scenario.name, each.name, load, "rps") for each in scenario.contenders)
    rate = next((rate for rate in rates if rate is not None), None)
    return f"{load:.0%}" if rate is None else f"{load:.0%} ({rate:.2f}/s)"


def _values(
    columns: Iterable[Column], scenario: Scenario, contender: Contender, load: float | None,
    summary: Summary,
) -> list[str]:  # fmt: skip
    means = (
        (column, summary.mean(scenario.name, contender.name, load, column.value))
        for column in columns
    )
    return [_NOTHING if mean is None else format(mean, column.form) for column, mean in means]


def _bound(bound: Column, scenario: Scenario, load: float | None, summary: Summary) -> str:
    """As the first contender that has it: it is the same for all."""
    means = (
        summary.mean(scenario.name, each.name, load, bound.value) for each in scenario.contenders
    )
    mean = next((mean for mean in means if mean is not None), None)
    return _NOTHING if mean is None else format(mean, bound.form)


def _table_head(heads: Sequence[str]) -> tuple[str, str]:
    return _line(heads), "|---|" + "--:|" * (len(heads) - 1)


def _line(fields: Iterable[str]) -> str:
    return f"| {' | '.join(fields)} |"
