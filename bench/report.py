"""What the workloads found: medians, a table of 80 columns, a plot; pure but for `write`."""

from pathlib import Path
from statistics import median
from typing import Any, Final

from bench.plot import bars

_PAGE: Final = Path("docs/performance.md")
_PLOT: Final = Path("docs/pictures/wait.svg")
_BEGIN: Final = "<!-- figures: `make bench` writes them -->"
_END: Final = "<!-- end of figures -->"
_COLUMNS: Final = ("p50_ms", "p99_ms", "max_ms", "cpu_ms_per_plan")


def medians(runs: list[Any]) -> Any:  # noqa: ANN401 - as deep as the results are
    """The median of every figure over runs of the same shape."""
    first = runs[0]
    if isinstance(first, dict):
        shared = [key for key in first if all(isinstance(run, dict) and key in run for run in runs)]
        return {key: medians([run[key] for run in runs]) for key in shared}
    if isinstance(first, bool) or not isinstance(first, int | float):
        return first
    return round(median(runs), 2)


def lines(document: dict[str, Any]) -> list[str]:
    """The table of a run, line by line."""
    found, options = document["medians"], document["options"]
    versions = f"{document['cores']} cores, Python {document['python']}, Celery {document['celery']}"
    headings = "".join(f"{heading:>9}" for heading in ("plans/s", "p50 ms", "p99 ms", "max ms", "CPU ms"))
    said = [f"{versions}, medians of {options['runs']} run(s)", "", f"{'workload':<16}{'worker':<13}{headings}"]
    for rate, pair in found.get("wait", {}).items():
        said += [_line(f"wait {rate}", name, figures, rate.split("/")[0]) for name, figures in pair.items() if figures]
    for workload in ("drain", "park", "chain"):
        said += [
            _line(workload, name, figures) for name, figures in found.get(workload, {}).items() if name != "weight"
        ]
    for workers, figures in found.get("scale", {}).items():
        said.append(_line("scale", f"{workers} gate", figures))
    for phase in ("before", "during", "after"):
        if "cut" in found:
            said.append(_line(f"cut {phase}", "gate", found["cut"]["gate"][phase]))
    return [*said, "", *ratios(found)]


def ratios(found: dict[str, Any]) -> list[str]:
    """The comparisons inside one run, a sentence each."""
    said = []
    for rate, pair in found.get("wait", {}).items():
        gate, twin = pair["gate"], pair["retry"]
        bound = pair.get("one core")
        both = f", {bound['executed']:.0f} on one core" if bound else ""
        said.append(f"wait {rate}: {gate['executed']:.0f} of {gate['plans']:.0f} plans executed{both}")
        if twin:
            said.append(
                f"  stock retry / gate: p50 {twin['p50_ms'] / gate['p50_ms']:.0f}x, "
                f"p99 {twin['p99_ms'] / gate['p99_ms']:.0f}x; "
                f"CPU gate / stock retry {gate['cpu_ms_per_plan'] / twin['cpu_ms_per_plan']:.2f}x"
            )
    if "drain" in found:
        gate, noop = found["drain"]["gate"], found["drain"]["noop"]
        said.append(f"drain: gate / stock no-op {gate['plans_per_s'] / noop['plans_per_s']:.2f}x the plans a second")
    if "park" in found:
        gate, weight = found["park"]["gate"], found["park"]["weight"]
        said.append(
            f"park: {gate['blocked']:.0f} of {gate['plans']:.0f} blocked, the last {gate['max_ms']:.0f} ms after its "
            f"deadline; {weight['kb_per_plan']} kB a plan"
        )
    if "scale" in found:
        one = found["scale"]["1"]["plans_per_s"]
        said += [
            f"scale: {workers} workers / 1: {figures['plans_per_s'] / one:.2f}x"
            for workers, figures in found["scale"].items()
            if workers != "1"
        ]
    if "cut" in found:
        said.append(
            f"cut: {found['cut']['gate']['executed']:.0f} of {found['cut']['gate']['plans']:.0f} plans executed"
        )
    if "status" in found:
        gate = found["status"]["gate"]
        said.append(
            f"status: with {gate['records']:.0f} records the queries take {gate['queries']['p50_ms']} ms, "
            f"at most {gate['queries']['max_ms']} ms"
        )
    return said


def write(document: dict[str, Any], said: list[str]) -> None:
    """Put the table and the plot into the docs."""
    page = _PAGE.read_text(encoding="utf-8")
    before, rest = page.split(_BEGIN)
    _, after = rest.split(_END)
    table = "\n".join(["", "", "```text", f"{document['at'][:10]}: {said[0]}", *said[1:], "```", "", ""])
    _PAGE.write_text(before + _BEGIN + table + _END + after, encoding="utf-8")
    waits = document["medians"].get("wait", {})
    rows = [
        (f"{name} {rate}", figures["p50_ms"], figures["p99_ms"])
        for rate, pair in waits.items()
        for name, figures in pair.items()
        if figures
    ]
    if rows:
        _PLOT.parent.mkdir(parents=True, exist_ok=True)
        _PLOT.write_text(bars("From the later permit to the order, ms (logarithmic)", rows), encoding="utf-8")


def _line(workload: str, who: str, figures: dict[str, Any], per_s: str = "") -> str:
    name = {"retry": "stock retry", "noop": "stock no-op", "one core": "gate one core"}.get(who, who)
    shown = [figures.get("plans_per_s", per_s or "-"), *(figures.get(key, "-") for key in _COLUMNS)]
    return f"{workload:<16}{name:<13}" + "".join(f"{value:>9}" for value in shown)
