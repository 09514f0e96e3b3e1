"""Every check, in the order in which they are made."""

from typing import Final

from ops.doctor import access, broker, fleet, gate, host, server, settings
from ops.doctor.finding import CHECKS, Check

_MODULES: Final = tuple(module.__name__ for module in (server, access, broker, gate, fleet, settings, host))

ALL: Final[tuple[Check, ...]] = tuple(sorted(CHECKS, key=lambda one: _MODULES.index(one.answers.__module__)))
