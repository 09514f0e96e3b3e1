"""What `permitwait status` costs when very many plans have run."""

import time
from typing import Any

from bench.bed import bed, spread
from ops.status.checklist import checklist
from ops.status.facts import gather
from ops.status.page import page
from tasks.store import Store

#: Made on the server: sending them one by one would take longer than all else here. Records as long as real ones.
_PLANS = """
for n = tonumber(ARGV[1]), tonumber(ARGV[2]) do
  redis.call('HSET', KEYS[1] .. 'plan-' .. n, 'state', 'waiting', 'taken_up_ms', n, 'intent', string.rep('x', 600))
  redis.call('ZADD', KEYS[2], n, 'plan-' .. n)
  redis.call('XADD', KEYS[3], 'MAXLEN', '~', 10000, '*', 'plan_id', 'plan-' .. n)
  redis.call('HINCRBY', KEYS[4], 'wait_ok:' .. n % 1200, 1)
  redis.call('HINCRBY', KEYS[4], 'wait_blocked:' .. n % 1300, 1)
  redis.call('HINCRBY', KEYS[4], 'ended:SYMBOL' .. n % 20 .. ':blocked:reason_' .. n % 30, 1)
end
"""


def ask(records: int, looks: int) -> dict[str, Any]:
    """Gather the facts so many times, with so many records in the store; and make the page of them."""
    with bed() as on:
        keys, store = on.keys, Store(on.client)
        for first in range(0, records, 10_000):
            last = min(first + 10_000, records) - 1
            on.client.eval(_PLANS, 4, keys.record(""), keys.open, keys.results, keys.stats, first, last)
        gathered_ms, shown_ms = [], []
        for _ in range(looks):
            began = time.perf_counter()
            facts = gather(store, on.settings)
            gathered = time.perf_counter()
            page(facts, checklist(facts))
            gathered_ms.append((gathered - began) * 1000)
            shown_ms.append((time.perf_counter() - gathered) * 1000)
    return {"records": records, "queries": spread(gathered_ms), "page": spread(shown_ms)}
