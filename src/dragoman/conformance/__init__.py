"""The conformance battery: what any LLM gateway can be judged by, from outside (`dragoman conformance`, docs/conformance.md).

    prompt.py     what a client asks, in no dialect's words
    clients.py    the official SDKs: ask it, and say what they made of the answer
    script.py     the upstream: which scenario answers which request, and what it was sent
    heard.py      what an upstream was told, in no dialect's words
    compare.py    what a client of a dialect can be told of an answer, and where two tellings differ
    seat.py       one client at one upstream, with the means to ask and to look
    case.py       a named case and its outcome; cases_*.py, catalogue.py: all of them
    battery.py    runs them; report.py, matrix.py, scoreboard.py tell the result
    peers.py      how well-known gateways are set up for it; own.py: this one, as a process of its own

It shares no code with the codecs that it judges: of this package it imports `testing` alone. The SDKs are the extra
`conformance`, so nothing here is imported before the command is run.
"""
