"""The name of every key in Redis. No other file spells one."""

from dataclasses import dataclass
from hashlib import sha256


@dataclass(frozen=True)
class Keys:
    """Key names under one namespace (`APPLY_NAMESPACE`); plan ids and symbols are validated before."""

    namespace: str = "quantum"

    def permit(self, name: str, plan_id: str) -> str:
        """STRING, JSON, written by the permit's issuer with a TTL."""
        part = "" if name == "governor" else f"{name}:"
        return f"{self.namespace}:permit:{part}{plan_id}"

    def governor_block(self, plan_id: str) -> str:
        """STRING, JSON, written by the Governor instead of a permit when it refuses."""
        return f"{self.namespace}:governor:block:{plan_id}"

    def record(self, plan_id: str) -> str:
        """HASH: state, deadline, claim and outcome of one plan."""
        return f"{self.namespace}:apply:execution:{plan_id}"

    def timeline(self, plan_id: str) -> str:
        """STREAM, capped: what happened to one plan, in order."""
        return f"{self.namespace}:apply:timeline:{plan_id}"

    def refusal(self, task_id: str) -> str:
        """STRING: marks that an invalid message under this task id already has its result entry."""
        return f"{self.namespace}:apply:refused:{task_id}"

    def governor_reservation(self, plan_id: str) -> str:
        """HASH: what a granted plan holds of the Governor's limits, until it ends without an order."""
        return f"{self.namespace}:governor:reservation:{plan_id}"

    def governor_exec(self, symbol: str) -> str:
        """ZSET: granted plans of a symbol by the epoch ms of their grant."""
        return f"{self.namespace}:governor:exec:{symbol}"

    def governor_daily(self, symbol: str) -> str:
        """Prefix of a HASH per UTC day: notional and quantity granted on a symbol; the script adds the date."""
        return f"{self.namespace}:governor:daily:{symbol}:"

    @property
    def governor_disarm(self) -> str:
        """Prefix of a STRING per UTC day: the Governor has set the kill switch; the script adds the date."""
        return f"{self.namespace}:governor:disarm:"

    @property
    def governor_errors(self) -> str:
        """Prefix of an INTEGER per UTC day: evaluations that failed; the script adds the date."""
        return f"{self.namespace}:governor:errors:"

    @property
    def governor_events(self) -> str:
        """STREAM of what the Governor did on its own."""
        return f"{self.namespace}:stream:governor.events"

    def snapshot(self, symbol: str) -> str:
        """HASH: what the venue said about a symbol's position, and when."""
        return f"{self.namespace}:position:snapshot:{symbol}"

    def ledger(self, symbol: str) -> str:
        """HASH: what we believe is held of a symbol, from our own orders."""
        return f"{self.namespace}:position:ledger:{symbol}"

    def position_live(self, symbol: str) -> str:
        """STRING: the plan that holds the one live position permit of a symbol."""
        return f"{self.namespace}:position:live:{symbol}"

    def heartbeat(self, issuer: str) -> str:
        """HASH, short-lived: an issuer's worker is alive."""
        return f"{self.namespace}:apply:heartbeat:{issuer}"

    @property
    def server(self) -> str:
        """HASH, refreshed by every worker: identity of the Redis server, when it changed, permits from before."""
        return f"{self.namespace}:apply:server"

    @property
    def every_permit(self) -> str:
        """Pattern of the keys of all permits."""
        return f"{self.namespace}:permit:*"

    @property
    def stats(self) -> str:
        """HASH: counters kept by the scripts with their decisions (`tasks/stats.py`)."""
        return f"{self.namespace}:apply:stats"

    def stats_until(self, epoch_ms: int) -> str:
        """HASH: the counters as they were until then, kept for a while after counting began anew."""
        return f"{self.namespace}:apply:stats:{epoch_ms}"

    def worker(self, hostname: str) -> str:
        """HASH, short-lived: a worker is alive, and what it runs."""
        return f"{self.namespace}:apply:worker:{hostname}"

    @property
    def workers(self) -> str:
        """ZSET, bounded: workers by the epoch ms of their last sign of life."""
        return f"{self.namespace}:apply:workers"

    @property
    def open(self) -> str:
        """ZSET: plans without a terminal outcome, scored by the epoch ms at which they fall due."""
        return f"{self.namespace}:apply:open"

    @property
    def kill_switch(self) -> str:
        """STRING: anything but an explicit off value stops every dispatch."""
        return f"{self.namespace}:global:kill_switch"

    @property
    def kill_switch_info(self) -> str:
        """HASH beside the switch: who set it, why, when."""
        return f"{self.namespace}:global:kill_switch:info"

    @property
    def plans(self) -> str:
        """STREAM of published plans."""
        return f"{self.namespace}:stream:apply.plan"

    @property
    def results(self) -> str:
        """STREAM of outcomes, one entry per plan."""
        return f"{self.namespace}:stream:apply.result"

    @property
    def rejected(self) -> str:
        """STREAM, capped: messages that were set aside, with the reason."""
        return f"{self.namespace}:stream:apply.rejected"

    @property
    def audit(self) -> str:
        """STREAM, capped: what operators did to plans and to the kill switch: who, why, when."""
        return f"{self.namespace}:stream:apply.audit"

    def paper_position(self, symbol: str) -> str:
        """HASH: `position_amt` (signed), `mark_price`, optional `step`."""
        return f"{self.namespace}:paper:position:{symbol}"

    def paper_order(self, client_order_id: str) -> str:
        """HASH: an accepted paper order, for lookup by client order id."""
        return f"{self.namespace}:paper:order:{client_order_id}"

    @property
    def paper_orders(self) -> str:
        """STREAM, append only: one entry for every order the paper venue accepted."""
        return f"{self.namespace}:stream:paper.orders"

    @property
    def paper_counter(self) -> str:
        """INTEGER: the last order number the paper venue gave out."""
        return f"{self.namespace}:paper:order_number"


def client_order_id(plan_id: str) -> str:
    """The same id for every attempt at a plan: `pw-` and 32 hex digits of SHA-256(plan id).

    35 characters: within the 36 that Binance USDT-M futures allows (reliability notes, section 5.3).
    """
    return "pw-" + sha256(plan_id.encode()).hexdigest()[:32]
