"""What may happen to one plan, small enough to be checked by reading it; `test_histories.py` holds the server to it."""

# ruff: noqa: D102 - a sentence above each method would fill the model's 30 lines

from typing import Final

_GOVERNOR: Final = b'{"granted": true, "symbol": "BTCUSDT", "created_at": %d}'
_P33: Final = b'{"allow": true, "symbol": "BTCUSDT", "safe_close_qty": 0.00%d}'

#: Two granting texts each, so that what was judged may have been replaced by something as good.
GRANTING: Final = {
    "governor": (_GOVERNOR % 1, _GOVERNOR % 2),
    "p33": (_P33 % 1, _P33 % 2),
    "p26": (_GOVERNOR % 1, _GOVERNOR % 2),
}


class Model:
    """What may happen to one plan."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names, self.permits = names, dict[str, bytes]()
        self.late = self.leased = self.recovering = False
        self.claim = self.ended = self.ended_by = ""
        self.orders = 0

    def look(self, token: str) -> str:
        if self.ended or not self.claim:
            return "finished" if self.ended else "stands"
        if not self.leased:
            self.claim, self.leased, self.recovering = token, True, True
        return "busy" if self.claim != token else "abandoned" if self.recovering else "consumed"

    def consume(self, token: str, judged: tuple[bytes, ...], *, switch: bool) -> str:
        word, stand = self.look(token), tuple(self.permits.get(name) for name in self.names)
        if word != "stands" or switch or self.late or judged != stand:
            return word
        assert all(judged[i] in GRANTING[name] for i, name in enumerate(self.names))
        self.claim, self.leased = token, True
        self.permits = {name: raw for name, raw in self.permits.items() if name not in self.names}
        return "consumed"

    def may_stop(self, token: str) -> bool:
        return self.claim == token and not self.ended

    def may_order(self, token: str) -> bool:
        return self.claim == token and self.leased and not self.recovering and not self.ended

    def may_end(self, token: str, leaving: str) -> bool:
        return self.may_stop(token) if leaving == "consumed" else not self.ended and not self.claim
