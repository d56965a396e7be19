"""Batches: a file of requests in, files of answers out, whatever dies meanwhile (ADR 0027).

schemas.py      what clients send and get
lines.py        one line of an input, output or error file
ordering.py     the order in which lines are run
validation.py   an input file, line by line, into a plan or errors
plan.py         the lines in that order, on disk
folder.py       one batch on disk: what was asked, who drives it, how it stands
shift.py        one driver's time with a batch: the part files it writes
tally.py        counts, usage and errors, as the part files say
work.py         lines into jobs, and how each job ended
window.py       the lines of a batch that are jobs now
drive.py        a batch from its state to its end
places.py       whose batch is driven next
troubles.py     batches that could not be driven
drivers.py      which batches this api drives
store.py        batches of tenants: make, find, list
routes.py       `/v1/batches`
"""
