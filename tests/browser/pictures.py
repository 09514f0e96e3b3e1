"""Takes the pictures of the documents: `python -m tests.browser.pictures FOLDER`, or `make pictures`."""

import argparse
import sys
from pathlib import Path
from typing import Final

from tests.browser.chromium import browser, chromium_or_skip, photograph
from tests.browser.pages import open_plan, open_tasks, open_workers
from tests.browser.stage import started_stage

#: A picture in a repository is paid for by everybody who clones it.
MOST_BYTES: Final = 200_000


def main() -> int:
    """Play the stage and take every picture; 1 where one is too large."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    with started_stage() as stage, browser(*chromium_or_skip()) as chrome:
        open_tasks(chrome, stage)
        photograph(chrome, folder / "flower-plans.png")
        open_tasks(chrome, stage, "state:BLOCKED")
        photograph(chrome, folder / "flower-search.png")
        open_plan(chrome, stage, "closes")
        photograph(chrome, folder / "flower-executed.png")
        open_plan(chrome, stage, "late")
        photograph(chrome, folder / "flower-blocked.png")
        open_workers(chrome, stage)
        photograph(chrome, folder / "flower-workers.png")
    large = [path for path in sorted(folder.glob("flower-*.png")) if path.stat().st_size > MOST_BYTES]
    for path in large:
        sys.stderr.write(f"{path} has {path.stat().st_size} bytes, more than {MOST_BYTES}\n")
    return 1 if large else 0


if __name__ == "__main__":
    sys.exit(main())
