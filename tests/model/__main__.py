"""`PYTHONPATH=tests python -m model`: explores every setup and prints what it found."""

from time import process_time

from model.explorer import explore
from model.scripts import Queue
from model.setups import SETUPS

for setup, rules in SETUPS:
    began_s = process_time()
    found = explore(setup, Queue(rules))
    spent_s = process_time() - began_s
    print(f"{setup.name:22} {len(found.states):7,} states {found.steps:8,} steps {spent_s:5.1f} s")  # noqa: T201  # its purpose
