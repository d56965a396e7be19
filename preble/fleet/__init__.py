"""What the scheduler believes of all instances.

columns     who is there and how loaded, one array for each quantity
outlook     what a request would meet on each of them
fleet       instances come and go, and so do the jobs placed on them

`Fleet` is an `Outlook` is a `Columns`: each layer knows only those above it here.
"""

from preble.fleet.fleet import Fleet

__all__ = ["Fleet"]
