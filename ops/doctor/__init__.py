"""`permitwait doctor`: is this deployment safe to trade?

::

    gather.py     reads every fact, once ───────► facts.py    frozen values, nothing else
    server.py     persistence, memory, role  ┐
    access.py     logins, network, rights    │
    broker.py     queues, redelivery         ├─► finding.py   what a check finds: how bad, what, and its fix
    gate.py       switch, overdue, issuers   │   checks.py    all of them
    fleet.py      the workers, one another   │
    settings.py   settings, each other       │
    host.py       this machine               ┘
    run.py        runs every check, prints, decides the exit code

A check is a pure function over the facts; its docstring is its line in docs/doctor.md.
"""
