"""What can go wrong, by condition.

PermitWaitError
├── BadSettings           a setting is missing or has a value that is not allowed
├── InvalidIntent         a message is not a valid EXECUTE intent
├── PlanConflict          a producer sends a known plan id with other content
├── StoreUnavailable      Redis did not answer, or answered with an error
├── NotConfigured         the task runs in a process that never opened the gate's parts
└── OutcomePending        a producer waited for an outcome that is not there yet
"""


class PermitWaitError(Exception):
    """Root of every error this project raises on purpose."""


class BadSettings(PermitWaitError):
    """Raised when a setting is missing or not allowed; the text is one line for the operator."""


class InvalidIntent(PermitWaitError):
    """Raised when a message cannot be read as an EXECUTE intent.

    Args:
        detail: what was found and what is allowed, safe to log and to store.
        plan_id: the plan the message names, where at least that is well formed.
        decision_only: true when `decision` is the only field that is wrong.
    """

    def __init__(self, detail: str, plan_id: str | None = None, *, decision_only: bool = False) -> None:
        super().__init__(detail)
        self.detail = detail
        self.plan_id = plan_id
        self.decision_only = decision_only


class PlanConflict(PermitWaitError):
    """Raised to the producer that submits a known plan id with another symbol, action or decision."""


class StoreUnavailable(PermitWaitError):
    """Raised when Redis did not answer in time or answered with an error: nothing may be dispatched."""


class NotConfigured(PermitWaitError):
    """Raised when the task runs outside our worker: a process that was never given a gate stays closed."""


class OutcomePending(PermitWaitError):
    """Raised when a plan has no terminal outcome within the time a producer was ready to wait."""
