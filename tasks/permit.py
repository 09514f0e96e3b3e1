"""What each permit must say, and what it says: strict models of the issuers' JSON."""

from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tasks.strictjson import NotStrict, describe, non_finite_fields, parse_strict

#: Digits in a quantity: beyond this it is an accident, and exact arithmetic would need special care.
MAX_DIGITS: Final = 28

Quantity = Annotated[Decimal, Field(allow_inf_nan=False, max_digits=MAX_DIGITS)]


class _Permit(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    symbol: str
    plan_id: str = ""

    @property
    def names_plan(self) -> bool:
        """Whether the permit names a plan at all (it need not)."""
        return "plan_id" in self.model_fields_set


class GovernorPermit(_Permit):
    """May we trade? `computed_qty` above 0 bounds the quantity; 0 or absent states no bound."""

    granted: bool
    consumed: bool = False
    decision: str = "EXECUTE"
    computed_qty: Annotated[Quantity, Field(ge=0)] = Decimal(0)

    @property
    def grants(self) -> bool:
        """The Governor's answer."""
        return self.granted


class PositionPermit(_Permit):
    """How much is safe to close? The quantity itself is judged after every permit's form."""

    allow: bool
    safe_close_qty: object = None
    exchange_position_amt: Quantity = Decimal(0)

    @property
    def grants(self) -> bool:
        """The Position State Brain's answer."""
        return self.allow

    @property
    def names_position(self) -> bool:
        """Whether the permit states the position it was computed from."""
        return "exchange_position_amt" in self.model_fields_set


class PortfolioPermit(_Permit):
    """Does the portfolio allow it?"""

    granted: bool

    @property
    def grants(self) -> bool:
        """The Portfolio Gate's answer."""
        return self.granted


Permit = GovernorPermit | PositionPermit | PortfolioPermit

_MODELS: Final[dict[str, type[Permit]]] = {
    "governor": GovernorPermit,
    "p33": PositionPermit,
    "p26": PortfolioPermit,
}

#: A non-finite number here is a bad quantity, anywhere else a malformed permit.
_JUDGED_LATER: Final = {"p33": "safe_close_qty"}


@dataclass(frozen=True)
class Defect:
    """Why a permit cannot be read: what was found, and what was expected."""

    detail: str


# A permit is looked at once more for each permit of its plan that comes after it.
@lru_cache(maxsize=1024)
def read_permit(name: str, raw: bytes) -> Permit | Defect:
    """Read one permit's bytes; never raises."""
    try:
        document = parse_strict(raw)
    except NotStrict as error:
        return Defect(str(error))
    for field in non_finite_fields(document):
        if field != _JUDGED_LATER.get(name):
            return Defect(f"{ascii(field)[:60]} is not a finite number")
    try:
        permit = _MODELS[name].model_validate(document)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in problem["loc"])
        found = "absent" if problem["type"] == "missing" else f"found {describe(problem['input'])}"
        return Defect(f"{place}: {found}; {problem['msg'].lower()}")
    if isinstance(permit, GovernorPermit) and permit.consumed:
        return Defect("consumed: found true; a permit that is used up cannot be used again")
    if isinstance(permit, GovernorPermit) and permit.decision != "EXECUTE":
        return Defect(f"decision: found {describe(permit.decision)}; only 'EXECUTE' permits an execution")
    return permit


def refusal_context(raw: bytes) -> str:
    """The issuer's own words in a denying permit or a block record, as one short line; empty if unreadable."""
    try:
        reason = parse_strict(raw).get("reason")
    except NotStrict:
        return ""
    return ascii(reason)[1:-1][:200] if isinstance(reason, str) else ""
