"""`make chaos SECONDS=60 SEED=…`: break workers and servers at random, then count in the journals."""

import argparse
import secrets
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType

from tests.chaos.run import run
from tests.chaos.schedule import make_schedule
from tests.chaos.site import FORKING, WORKERS


def main() -> int:
    """Run once; 0 where every promise held, 1 where one was broken."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long things are broken")
    parser.add_argument("--seed", default="", help="of the load and of what is broken when; default: a random one")
    parser.add_argument("--one-server", action="store_true", help="permits and broker on the same server")
    parser.add_argument("--far-venue", action="store_true", help="orders go to a venue that fails in every way")
    parser.add_argument("--keep", type=Path, help="a short path: work there and leave logs, journal and data behind")
    parser.add_argument("--schedule", action="store_true", help="only print what would be broken when")
    options = parser.parse_args()
    seed = options.seed or secrets.token_hex(3)
    if options.schedule:
        sys.stdout.writelines(f"{action}\n" for action in make_schedule(seed, options.seconds, (*WORKERS,), FORKING))
        return 0
    signal.signal(signal.SIGTERM, _interrupt)
    say = _clock()
    parts = "one server" if options.one_server else "two servers", "far venue" if options.far_venue else "paper venue"
    say(f"seed {seed}, {options.seconds:g} s, {', '.join(parts)}")
    with TemporaryDirectory(prefix="pw-", ignore_cleanup_errors=True) as scratch:
        folder = options.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        variant = {"one_server": options.one_server, "far_venue": options.far_venue}
        verdict = run(seed, options.seconds, folder, say, **variant)
    sys.stdout.writelines(f"{line}\n" for line in verdict.lines)
    sys.stdout.write(f"seed {seed}: {'every promise held' if verdict.good else 'A PROMISE WAS BROKEN'}\n")
    return 0 if verdict.good else 1


def _clock() -> Callable[[str], None]:
    began = time.monotonic()

    def say(line: str) -> None:
        sys.stderr.write(f"{time.monotonic() - began:7.1f}  {line}\n")

    return say


def _interrupt(number: int, frame: FrameType | None) -> None:
    _ = number, frame
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
