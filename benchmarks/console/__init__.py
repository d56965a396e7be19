"""How long the console's pages take the api, and what they cost it, before a large pool.

fill.py ─▶ a private Valkey ◀─ one api process ◀─┬─ asking.py   each page, again and again
                                                 └─ watching.py  all pages, as browsers do
"""
