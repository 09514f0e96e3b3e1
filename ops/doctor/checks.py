"""Every check, in the order in which they are made."""

from typing import Final

from ops.doctor import access, broker, fleet, gate, host, server, settings  # noqa: F401 - each enters its own
from ops.doctor.finding import CHECKS, Check

ALL: Final[tuple[Check, ...]] = tuple(CHECKS)
