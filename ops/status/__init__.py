"""`permitwait status`: is this deployment validated, and what is it doing now? Read the files in this order.

::

    facts.py      what is known, as one frozen value; gathered from Redis in two round trips
    checklist.py  the seed's checklist: pure, facts in, one mark per point out
    document.py   both as one JSON document
    page.py       both as lines for a terminal of 80 columns
    report.py     both as Markdown that can be read alone
    run.py        once, or again and again
    reset.py      counting from nothing again

What it costs does not depend on how many plans ever ran: the figures are counters that the scripts keep with their
decisions (`tasks/stats.py`).
"""
