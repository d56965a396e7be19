"""The web console at `/ui`: pages that the server makes, of what the api tells anyway.

    browser ─▶ Door: headers, origins, error pages ─▶ gate.py: who asks ─▶ a page's routes
                                                         ▲                   │
                                           cookie ─▶ Sessions       Shared ◀─┤ views, so often
                                                                             ▼ at most
                                         HTML ◀── templates/ ◀── contexts, pure functions

Each page reads without JavaScript; htmx asks for fragments of it, and uPlot draws what the page
says in figures, too. Nothing comes from elsewhere, no script or style stands in a page (ADR 0038).
"""
