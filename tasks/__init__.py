"""From an intent to an order, one file per step; read them in the order of the picture.

::

    producer                     worker                                  Redis
    ────────                     ──────                                  ─────
    intent.py   what is sent
    submit.py   register, send ─► execute.py   the Celery task: outcome or retry
                                    │  ▲
                                    │  └─ wait.py  when to look again; issuers.py  asks our own judges, once
                                    ▼
                                 act.py       acts on what an attempt decided
                                    │
                                 attempt.py   decides: look, judge, consume
                                    ├─ look ──► consume.py ──────────────► consume_permits.lua
                                    ├─ judge.py   pure: wait, block or ready
                                    ├─ consume ► consume.py ─────────────► consume_permits.lua
                                    │
                                    ▼ only after "consumed"
                                 dispatch.py  the one place an order leaves ─► venues/
                                    │  └─ confirm.py  right before ──────► confirm_claim.lua
                                    ├─ lookup.py   no clear answer ──────► stop_submitting.lua, note_lookup.lua
                                    ▼
                                 outcome.py   how it ended ──────────────► finish_plan.lua

    the judges (each a task on its own queue, each writes one permit)
    governor.py   may we trade?              limits ──────────────────────► govern_plan.lua
    position.py   how much is safe to close? snapshot.py ─────────────────► permit_position.lua

Words used by the steps: `permit.py` and `strictjson.py` (what a permit must say), `reasons.py` (why not),
`refuse.py` (messages that touch no plan), `by_hand.py` (what an operator may do to one), `parts.py` (what a process
needs), `settings.py` and `address.py` (what can be configured), `keys.py` (every name in Redis), `stats.py` (what is
counted), `life.py` (what a worker tells about itself), `store.py` and `wire.py` (how Redis is called), `log.py` (the
lines operators grep for), `errors.py`.
"""
