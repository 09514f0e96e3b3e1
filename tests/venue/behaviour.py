"""How the test venue treats one order: a small script, or a choice by seed."""

import random
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

#: What becomes of an answer: it comes, never comes, the connection ends instead, or it is a failure without a code.
Reply = Literal["answer", "hang", "reset", "fail"]


@dataclass(frozen=True)
class Behaviour:
    """Each part on its own; the default accepts, fills and answers at once. The window is always enforced.

    Attributes:
        before_ms: pause between the arrival of the request and everything else.
        code: refuse with this code; empty = accept.
        then: how the request is answered, `after_ms` after it was decided.
        drops: neither accepted nor refused, whatever `then` says.
        hides_ms: lookups do not show the order for so long after it was accepted.
        fills: how much of it is executed; what is not, expires.
        works_ms: for so long after it was accepted, nothing is executed and the order is `new`.
        lookup: how lookups of it are answered, for `lookup_ms` after the request arrived (0 = for ever).
    """

    before_ms: int = 0
    code: str = ""
    then: Reply = "answer"
    after_ms: int = 0
    drops: bool = False
    hides_ms: int = 0
    fills: Literal["full", "half", "none"] = "full"
    works_ms: int = 0
    lookup: Reply = "answer"
    lookup_ms: int = 0

    def as_dict(self) -> dict[str, Any]:
        """For the wire."""
        return asdict(self)


#: By name, for scripts in tests and for random mixes.
BEHAVIOURS: Final[dict[str, Behaviour]] = {
    "accept": Behaviour(),
    "accept_slowly": Behaviour(before_ms=300, after_ms=300),
    "accept_and_hang": Behaviour(then="hang"),
    "accept_and_reset": Behaviour(then="reset"),
    "accept_and_fail": Behaviour(then="fail"),
    "accept_hang_and_hide": Behaviour(then="hang", hides_ms=1_500),
    "hang": Behaviour(then="hang", drops=True),
    "reset": Behaviour(then="reset", drops=True),
    "fail": Behaviour(then="fail", drops=True),
    "refuse": Behaviour(code="-2022"),
    "refuse_and_hang": Behaviour(code="-2022", then="hang"),
    "half_then_expired": Behaviour(fills="half"),
    "half_then_expired_and_hang": Behaviour(fills="half", then="hang"),
    "expired": Behaviour(fills="none"),
    "acknowledge_first": Behaviour(works_ms=700),
    "no_lookup_for_a_while": Behaviour(then="hang", lookup="reset", lookup_ms=3_000),
}


def chosen(seed: str, mix: dict[str, int], client_order_id: str) -> Behaviour:
    """The behaviour of one order out of a weighted mix of names: the same for the same seed and order."""
    choice = random.Random(f"{seed}:{client_order_id}")
    return BEHAVIOURS[choice.choices(list(mix), list(mix.values()))[0]]
