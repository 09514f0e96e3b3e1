"""`make bench`: the workloads against Celery as it comes; a table here, JSON under bench/results/."""

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from bench import report
from bench.asking import ask
from bench.chaining import chain
from bench.contestants import GATE, NOOP, ONE_CORE, RETRY
from bench.draining import drain, scale
from bench.parking import park, weight
from bench.waiting import cut, wait
from tests.rabbitmq import RabbitNode

Run = Callable[[argparse.Namespace, int], dict[str, Any]]


def _wait(options: argparse.Namespace, seed: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    gates = {"gate": GATE} | ({"one core": ONE_CORE} if options.one_core else {})
    for per_s in options.rates:
        given = (per_s, options.seconds, seed)
        found[f"{per_s}/s"] = {name: wait(who, *given) for name, who in gates.items()} | {
            # Above this rate it falls behind, and only its queue is measured.
            "retry": wait(RETRY, *given) if per_s <= options.twin_rate else None
        }
        if options.node:
            urls = (options.node.url(options.node.add_vhost()) for _ in gates)
            found[f"{per_s}/s amqp"] = {
                name: wait(who, *given, url) for (name, who), url in zip(gates.items(), urls, strict=True)
            } | {"retry": None}
    return found


def _drain(options: argparse.Namespace, _: int) -> dict[str, Any]:
    return {"gate": drain(GATE, options.plans), "noop": drain(NOOP, options.plans)}


def _park(options: argparse.Namespace, _: int) -> dict[str, Any]:
    # Of as many plans as the gate's the stock retry has ended none after two minutes.
    few = options.twin_parked
    return {"gate": park(GATE, options.parked, 500), "retry": park(RETRY, few, 500), "weight": weight(options.parked)}


def _scale(options: argparse.Namespace, _: int) -> dict[str, Any]:
    return {str(workers): scale(options.plans, workers) for workers in (1, 2, 4)}


def _cut(options: argparse.Namespace, seed: int) -> dict[str, Any]:
    return {"gate": cut(50, max(12, options.seconds), seed)}


def _chain(options: argparse.Namespace, _: int) -> dict[str, Any]:
    return {"gate": chain(10, options.seconds)}


def _status(options: argparse.Namespace, _: int) -> dict[str, Any]:
    return {"gate": ask(options.records, 50)}


WORKLOADS: Final[dict[str, Run]] = {
    "wait": _wait,
    "drain": _drain,
    "park": _park,
    "scale": _scale,
    "cut": _cut,
    "chain": _chain,
    "status": _status,
}


def main() -> int:
    """Run the chosen workloads so many times, and report medians."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("workloads", nargs="*", default=[], help=f"of {', '.join(WORKLOADS)}; all where none is named")
    parser.add_argument("--runs", type=int, default=1, help="of everything; the medians are shown")
    parser.add_argument("--seconds", type=int, default=10, help="length of wait, cut and chain")
    parser.add_argument("--rates", type=int, nargs="*", default=[100, 200, 300], help="plans a second of wait")
    parser.add_argument("--twin-rate", type=int, default=100, help="highest rate that the stock retry is run at")
    parser.add_argument("--plans", type=int, default=3000, help="plans of drain and scale")
    parser.add_argument("--parked", type=int, default=2000, help="plans of park")
    parser.add_argument("--twin-parked", type=int, default=200, help="plans of park for the stock retry")
    parser.add_argument("--records", type=int, default=100_000, help="plans that have run before status asks")
    parser.add_argument("--seed", type=int, default=1, help="of the permits' delays")
    parser.add_argument("--rabbitmq", action="store_true", help="run wait on a RabbitMQ node of our own, too")
    parser.add_argument("--one-core", action="store_true", help="run wait with APPLY_ONE_CORE=yes, too (Linux)")
    parser.add_argument("--document", action="store_true", help="write table and plot into docs/")
    options = parser.parse_args()
    chosen = options.workloads or list(WORKLOADS)
    unknown = set(chosen) - set(WORKLOADS)
    if unknown:
        parser.error(f"unknown workload {', '.join(sorted(unknown))}; there are {', '.join(WORKLOADS)}")
    with ExitStack() as stack:
        options.node = stack.enter_context(RabbitNode()) if options.rabbitmq else None
        return _measure(options, chosen)


def _measure(options: argparse.Namespace, chosen: list[str]) -> int:
    progress = Console(stderr=True)
    path = Path("bench/results") / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    runs: list[dict[str, Any]] = []
    for number in range(options.runs):
        found = {}
        for name in chosen:
            progress.print(f"run {number + 1} of {options.runs}: {name} …")
            found[name] = WORKLOADS[name](options, options.seed + number)
        runs.append(found)
        # After each run: what was measured is not lost with a later one.
        document = _document(options, runs)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    lines = report.lines(document)
    Console().print("\n" + "\n".join(lines), highlight=False, markup=False)
    progress.print(f"\nwritten to {path}")
    if options.document:
        report.write(document, lines)
    return 0


def _document(options: argparse.Namespace, runs: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "celery": version("celery"),
        "cores": os.cpu_count(),
        "options": {name: value for name, value in vars(options).items() if name != "node"},
        "medians": report.medians(runs),
        "runs": runs,
    }


if __name__ == "__main__":
    sys.exit(main())
