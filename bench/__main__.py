"""`make bench`: the workloads, a table on screen, one JSON document under bench/results/."""

import argparse
import json
import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import workloads


def main() -> int:
    """Run all workloads and report."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--plans", type=int, default=1000, help="plans of the drain workload")
    parser.add_argument("--per-s", type=int, default=50, help="plans a second of the wait workload")
    parser.add_argument("--seconds", type=int, default=10, help="length of the wait workload")
    parser.add_argument("--chain-per-s", type=int, default=10, help="plans a second of the chain workload")
    parser.add_argument("--seed", type=int, default=1, help="of the permits' delays")
    options = parser.parse_args()
    progress = Console(stderr=True)
    progress.print(f"drain: {options.plans} plans, permits ready …")
    results: dict[str, Any] = {"drain": workloads.drain(options.plans)}
    progress.print(f"wait: {options.per_s} plans/s for {options.seconds} s, permits after U(50, 600) ms …")
    results["wait"] = workloads.wait(options.per_s, options.seconds, options.seed)
    progress.print(f"chain: {options.chain_per_s} plans/s for {options.seconds} s, our own judges …")
    results["chain"] = workloads.chain(options.chain_per_s, options.seconds)
    _show(results)
    now = datetime.now(UTC)
    document = {
        "at": now.isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "options": vars(options),
        "results": results,
    }
    path = Path("bench/results") / f"{now:%Y%m%dT%H%M%SZ}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    progress.print(f"written to {path}")
    return 0


def _show(results: dict[str, Any]) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("workload", "worker", "plans/s", "p50 ms", "p99 ms", "max ms", "CPU ms/plan"):
        table.add_column(heading, justify="left" if heading in {"workload", "worker"} else "right")
    for name, result in results.items():
        for who in ("ours", "stock"):
            figures = result.get(who)
            if figures is None:
                continue
            table.add_row(
                name,
                "gate" if who == "ours" else "stock no-op",
                str(figures.get("plans_per_s", result.get("per_s", ""))),
                *(str(figures.get(key, "-")) for key in ("p50_ms", "p99_ms", "max_ms", "cpu_ms_per_plan")),
            )
    console = Console()
    console.print()
    console.print(table)
    console.print(
        "\ndrain p50/p99: from taken up to recorded. wait p50/p99: from the later permit's SET to the order's\n"
        "journal entry (chain: from submit to it), for the stock task from sending to its entry.\n"
        "All on the server's clock.\n"
        f"ratios to stock: drain throughput {results['drain']['ratio']['throughput']}, "
        f"drain CPU {results['drain']['ratio']['cpu']}, wait CPU {results['wait']['ratio']['cpu']}",
        highlight=False,
    )
    console.print("\nchain, submit to order:", highlight=False)
    most = max(results["chain"]["histogram_ms"].values())
    for step, count in results["chain"]["histogram_ms"].items():
        console.print(f"{step:>9} ms {count:5} {'#' * round(count / most * 50)}", highlight=False)


if __name__ == "__main__":
    sys.exit(main())
