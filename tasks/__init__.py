"""From an intent to an order, one file per step; read them in the order of the picture.

::

    producer                     worker                                  Redis
    ────────                     ──────                                  ─────
    intent.py   what is sent
    submit.py   register, send ─► execute.py   the Celery task: acts
                                    │  wait.py  when to look again ◄─ retry ─┐
                                    ▼                                        │
                                 attempt.py   look, judge, consume           │
                                    │                                        │
                                    ├─ look ──► consume.py ──────────────► consume_permits.lua
                                    ├─ judge.py   pure: wait, block or ready ┘
                                    ├─ consume ► consume.py ─────────────► consume_permits.lua
                                    │
                                    ▼ only after "consumed"
                                 dispatch.py  the one place an order leaves ─► venues/
                                    │
                                    ▼
                                 outcome.py   how it ended ──────────────► finish_plan.lua

Words used by the steps: `permit.py` and `strictjson.py` (what a permit must say), `reasons.py` (why not),
`settings.py` and `address.py` (what can be configured), `keys.py` (every name in Redis), `store.py` (how Redis
is called), `log.py` (the lines operators grep for), `errors.py`.
"""
