"""The bounded wait for permits, as one small pure value: when to look next, and when the verdict falls."""

from dataclasses import dataclass

#: The last look that can still consume comes this long before the deadline; the next one is the verdict.
LAST_LOOK_BEFORE_MS = 50

#: The verdict is asked for this long after the deadline: clocks tick in milliseconds, and earlier finds time left.
AFTER_DEADLINE_MS = 2


@dataclass(frozen=True)
class WaitPolicy:
    """When a plan whose permits are missing is looked at again; a watched plan also when something changed.

    Attributes:
        wait_ms: bound of the wait, from the moment a worker takes the plan up (`APPLY_PERMIT_WAIT_MS`).
        step_ms: longest pause between two looks while permits cannot be watched (`APPLY_PERMIT_STEP_MS`).
    """

    wait_ms: int = 1200
    step_ms: int = 100

    def pause_ms(self, left_ms: int) -> int:
        """Milliseconds until the next look at a plan that is not watched, `left_ms` before the deadline.

        Never longer than the step and never beyond the deadline by more than a millisecond; one look falls
        `LAST_LOOK_BEFORE_MS` before the deadline, and the one after it reads the verdict.
        """
        if left_ms <= 0:
            return 0
        before_last_look_ms = left_ms - LAST_LOOK_BEFORE_MS
        if before_last_look_ms > 0:
            return min(self.step_ms, before_last_look_ms)
        return min(self.step_ms, left_ms + 1)

    def verdict_after_ms(self, left_ms: int) -> int:
        """Milliseconds until the verdict on a watched plan: just after the deadline, before it there is time."""
        return max(0, left_ms) + AFTER_DEADLINE_MS

    def busy_pause_ms(self, lease_left_ms: int) -> int:
        """Milliseconds until another attempt's claim is looked at again: a step, or the end of its lease."""
        return max(1, min(self.step_ms, lease_left_ms))
