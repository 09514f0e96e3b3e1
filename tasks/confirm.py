"""The last check of a claim before its order leaves, for venues that cannot make it themselves."""

from time import monotonic
from typing import Literal
from uuid import uuid4

from tasks.consume import Claim
from tasks.parts import Parts
from tasks.venues import Window


def confirm(parts: Parts, plan_id: str, claim: Claim) -> Window | Literal["kill_switch", "claim_lost"]:
    """When the venue may accept the one order of this claim. Answers with a window once per plan, never again.

    Raises:
        StoreUnavailable: Redis gave no answer, or an error; nothing may be sent, and nothing will be for this claim.
    """
    keys, opened_s = parts.gate.keys, monotonic()
    word, *rest = parts.store.run(
        "confirm_claim",
        [keys.record(plan_id), keys.kill_switch, keys.timeline(plan_id)],
        [claim.token, uuid4().hex, parts.venue.name, parts.venue.window_ms, parts.settings.record_ttl_s],
    )
    if word == b"confirmed":
        until_ms, left_ms = rest
        return Window(until_ms, left_ms, opened_s)
    return "kill_switch" if word == b"kill_switch" else "claim_lost"
