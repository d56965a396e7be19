"""Experiments on the simulator: `python -m benchmarks NAME` makes `results/NAME.*` anew.

    experiments ─▶ cells ─▶ runner ─▶ measure ─▶ preble.simulator
    (the table)    (keys)      │
                               ▼
                             store ─▶ pages, figures ◀─ bootstrap

What each shows stands in docs/reference/experiments.md. Not part of the wheel.
"""
