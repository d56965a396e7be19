"""How growth exponents are read from measured rows."""

from preble.bench.decision import DecisionRow, growth_of


def row(tokens: int, instances: int, p50_us: float) -> DecisionRow:
    return DecisionRow("decision", tokens, instances, 10_000, 0.9, p50_us, 2 * p50_us)


def test_exponents_are_slopes_with_the_other_quantities_at_their_most() -> None:
    """At 64 instances 8 times the tokens cost 8 times as much; at 32,000 tokens 4 the same."""
    rows = [row(4_000, 16, 1), row(32_000, 16, 50), row(4_000, 64, 10), row(32_000, 64, 80)]
    found = {each.quantity: each.exponent for each in growth_of(rows)}
    assert found == {"prompt_tokens": 1.0, "instances": 0.34}


def test_one_value_of_a_quantity_says_nothing_of_growth() -> None:
    assert list(growth_of([row(4_000, 16, 1)])) == []
