"""A file of prompts through an api, and a file of answers: what `preble batch run` does.

    rows, template, openai_lines ─▶ lines ─▶ plan ─▶ order ─▶ run ─▶ results ─▶ journal
       the input, a row at a time            what is done          the output, appended

All of it is bounded in memory however long the file is, and may be killed at any moment: what
stands in the output then is whole, and the next run does the rest (ADR 0030).
"""

from preble.batch.lines import Defaults
from preble.batch.options import RunOptions
from preble.batch.report import Report
from preble.batch.runner import Batch, opened

__all__ = ["Batch", "Defaults", "Report", "RunOptions", "opened"]
