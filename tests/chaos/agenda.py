"""Does things at their time, each in a thread of its own pool: one that hangs delays no other."""

import heapq
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from threading import Condition, Thread
from typing import Final

logger = logging.getLogger(__name__)


class Agenda:
    """What is to be done when; new items may be added from anywhere at any time."""

    def __init__(self, name: str, threads: int) -> None:
        self._name: Final = name
        self._heap: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = count()
        self._changed = Condition()
        self._in_hand = 0
        self._closed = False
        self._pool = ThreadPoolExecutor(threads, name)
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def after(self, delay_s: float, act: Callable[[], object]) -> None:
        """Have `act` called in `delay_s` from now, or as soon as possible after that."""
        with self._changed:
            heapq.heappush(self._heap, (time.monotonic() + delay_s, next(self._numbers), act))
            self._changed.notify()

    def idle(self) -> bool:
        """Whether everything is done, and nothing more to do."""
        with self._changed:
            return not self._heap and not self._in_hand

    def close(self) -> None:
        """Drop what is left, and return when what is in hand is done."""
        with self._changed:
            self._closed = True
            self._heap.clear()
            self._changed.notify()
        self._thread.join()
        self._pool.shutdown()

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._closed:
                    return
                wait_s = self._heap[0][0] - time.monotonic() if self._heap else None
                if wait_s is None or wait_s > 0:
                    self._changed.wait(wait_s)
                    continue
                _, _, act = heapq.heappop(self._heap)
                self._in_hand += 1
            self._pool.submit(self._do, act)

    def _do(self, act: Callable[[], object]) -> None:
        try:
            act()
        except Exception:
            logger.exception("%s: %r failed", self._name, act)
            raise
        finally:
            with self._changed:
                self._in_hand -= 1
