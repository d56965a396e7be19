"""The web console at `/ui`: pages that the server makes, of what the api tells anyway.

    browser ─▶ Door: headers, origins, error pages ─▶ gate.py: who asks ─▶ a page's routes
                                                         ▲                   │
                                           cookie ─▶ Sessions       Shared ◀─┤ views, so often
                                                                             ▼ at most
                                         HTML ◀── templates/ ◀── contexts, pure functions

What changes in a page is a fragment, made once for all who may see the same, and in short turns
(`render.py`, `pace.py`, `shared.py`): the api answers others meanwhile.

Each page reads without JavaScript; htmx asks for fragments of it, and uPlot draws what the page
says in figures, too. Nothing comes from elsewhere, no script or style stands in a page (ADR 0038).
"""
