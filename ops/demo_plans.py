"""What the demo shows: one scenario per line of its table, each with the decision it must end in."""

import json
import time
from dataclasses import dataclass
from typing import Any, Final

from tasks.keys import Keys

#: The demo's own symbols, with a position each (signed) and the venue's step.
POSITIONS: Final = {
    "BTCUSDT": ("0.062", "0.001", "64250.5"),
    "ETHUSDT": ("-1.250", "0.001", "3105.2"),
    "SOLUSDT": ("14.0", "1", "171.45"),
    "BNBUSDT": ("-3.20", "0.01", "588.1"),
    "XRPUSDT": ("2500.0", "0.1", "0.5312"),
    "ADAUSDT": ("-900", "1", "0.4475"),
}


#: What the ledger says at first where that is not what the exchange holds.
WRONG_LEDGER: Final = {"BNBUSDT": "-3.05"}


@dataclass(frozen=True)
class Write:
    """One write into Redis, `after_ms` the plan was submitted: a permit, a block record or a switch."""

    after_ms: int
    key: str
    value: str
    ttl_s: int = 60


@dataclass(frozen=True)
class Scenario:
    """One plan, what happens around it, and how it must end."""

    title: str
    intent: dict[str, Any]
    writes: tuple[Write, ...]
    decision: str
    reason: str = ""
    sends: int = 1


#: When a permit is written (ms after the plan), and what differs from a granting one.
Permit = tuple[int, dict[str, Any]]


def chain_scenarios(keys: Keys, run: str) -> list[Scenario]:
    """The whole chain: our own Governor and Position judge every plan; `run` sets this demo's plans apart."""
    story: list[Scenario] = []

    def add(title: str, symbol: str, ends: str, **more: Any) -> None:  # noqa: ANN401 - as `_scenario`
        story.append(_scenario(keys, f"{run}-{len(story) + 1:02d}", title, symbol, ends, {}, **more))

    add("closes 75 % of a long", "BTCUSDT", "EXECUTE")
    add("closes 50 % of a short", "ETHUSDT", "EXECUTE", intent={"action": "PARTIAL_50"})
    critical = {"kill_score": 0.92}
    add("critical: full close passes", "XRPUSDT", "EXECUTE", intent=critical | {"action": "FULL_CLOSE_PROPOSED"})
    add("critical: partial is refused", "SOLUSDT", "governor_denied", intent=critical)
    add("ledger is not the exchange", "BNBUSDT", "p33_denied")
    add("sent twice: one order", "ADAUSDT", "EXECUTE", sends=2)
    return story


def reconciled_scenario(keys: Keys, run: str) -> Scenario:
    """The plan that was denied, again, after the operator has set the ledger right."""
    return _scenario(keys, f"{run}-07", "after reconciling the ledger", "BNBUSDT", "EXECUTE", {})


def gate_scenarios(keys: Keys, run: str, first: int) -> list[Scenario]:
    """Permits from outside services, each case of the gate but the kill switch, which would stop the others."""
    story: list[Scenario] = []

    def plan_id() -> str:
        return f"{run}-{first + len(story):02d}"

    def add(title: str, symbol: str, ends: str, permits: dict[str, Permit], **more: Any) -> None:  # noqa: ANN401 - as above
        story.append(_scenario(keys, plan_id(), title, symbol, ends, permits, **more))

    def both(governor_ms: int, p33_ms: int, **p33: object) -> dict[str, Permit]:
        return {"governor": (governor_ms, {}), "p33": (p33_ms, p33)}

    add("both permits late", "BTCUSDT", "EXECUTE", both(120, 345))
    add("both permits early", "ETHUSDT", "EXECUTE", both(0, 0))
    add("governor early, position late", "SOLUSDT", "EXECUTE", both(0, 600, safe_close_qty=3.7))
    add("position early, governor late", "BNBUSDT", "EXECUTE", both(480, 0))
    add("one permit never comes", "BTCUSDT", "missing_p33", {"governor": (80, {})})
    add("no permit comes", "ETHUSDT", "missing_both", {})
    add("position denies", "BTCUSDT", "p33_denied", both(60, 140, allow=False, reason="stale_exchange_state"))
    block = json.dumps({"reason": "hourly_limit_exceeded", "symbol": "SOLUSDT", "timestamp": time.time()})
    refusal = Write(180, keys.governor_block(plan_id()), block, ttl_s=3600)
    add("governor refuses", "SOLUSDT", "governor_denied", {"p33": (50, {"safe_close_qty": 2.0})}, extra=(refusal,))
    add("permit: quantity as text", "BNBUSDT", "invalid_safe_qty", both(70, 110, safe_close_qty="0.16"))
    add("permit: another symbol", "XRPUSDT", "permit_symbol_mismatch", both(90, 130, symbol="BTCUSDT"))
    add("symbol not on the allowlist", "DOGEUSDT", "symbol_not_allowed", both(0, 0))
    add("plan from two minutes ago", "ADAUSDT", "plan_expired", both(0, 0), intent={"created_at": time.time() - 120})
    return story


def kill_switch_scenario(keys: Keys, run: str, number: int) -> Scenario:
    """A waiting plan, then the switch, then both permits: no order may leave."""
    switch = Write(250, keys.kill_switch, "true", ttl_s=0)
    permits: dict[str, Permit] = {"governor": (450, {}), "p33": (450, {})}
    return _scenario(
        keys, f"{run}-{number:02d}", "kill switch while it waits", "BTCUSDT", "kill_switch", permits, extra=(switch,)
    )


def _scenario(  # noqa: PLR0913 - one scenario is one call
    keys: Keys,
    plan_id: str,
    title: str,
    symbol: str,
    ends: str,
    permits: dict[str, Permit],
    *,
    intent: dict[str, Any] | None = None,
    extra: tuple[Write, ...] = (),
    sends: int = 1,
) -> Scenario:
    amount = POSITIONS.get(symbol, ("1", "1", "1"))[0]
    granting: dict[str, dict[str, Any]] = {
        "governor": {"granted": True, "symbol": symbol, "decision": "EXECUTE", "consumed": False},
        "p33": {
            "allow": True,
            "symbol": symbol,
            "safe_close_qty": float(amount.lstrip("-")) / 20,
            "reason": "sanity_checks_passed",
        },
    }
    plan = {"plan_id": plan_id, "symbol": symbol, "action": "PARTIAL_75", "decision": "EXECUTE"}
    writes = [
        Write(after_ms, keys.permit(name, plan_id), json.dumps(granting[name] | changes))
        for name, (after_ms, changes) in permits.items()
    ]
    decision, reason = ("EXECUTE", "") if ends == "EXECUTE" else ("BLOCKED", ends)
    return Scenario(
        title,
        plan | {"created_at": time.time(), "source": "demo"} | (intent or {}),
        (*writes, *extra),
        decision,
        reason,
        sends,
    )
