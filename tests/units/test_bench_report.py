"""What `make bench` says of its runs: medians, ratios, the plot."""

from xml.etree import ElementTree as ET

from bench import report
from bench.plot import bars


def run(p50: float, executed: int = 10) -> dict[str, object]:
    figures = {"plans": 10, "executed": executed, "p50_ms": p50, "p99_ms": 10 * p50, "cpu_ms_per_plan": 2.0}
    retry = figures | {"p50_ms": 50 * p50, "cpu_ms_per_plan": 8.0}
    return {"wait": {"100/s amqp": {"gate": figures, "one core": figures | {"executed": 8}, "retry": retry}}}


def test_medians_are_taken_figure_by_figure() -> None:
    """Of three runs the middle one, deep in the results; what is not a number is kept."""
    found = report.medians([run(1.0), run(9.0), run(2.0)])

    assert (2.0, 20.0) == tuple(found["wait"]["100/s amqp"]["gate"][key] for key in ("p50_ms", "p99_ms"))
    assert "gate" == report.medians([{"who": "gate"}, {"who": "gate"}])["who"]


def test_ratios_compare_within_a_run() -> None:
    """How far the twin is above us, what our plan costs of its, and whether every plan was executed."""
    said = "\n".join(report.ratios(run(2.0, executed=9)))

    assert "9 of 10 plans executed, 8 on one core" in said
    assert "p50 50x" in said
    assert "CPU gate / stock retry 0.25x" in said


def test_the_table_fits_a_terminal() -> None:
    """Eighty columns."""
    options, versions = {"runs": 5}, {"python": "3.11.7", "celery": "5.7.0"}
    document = {"cores": 2, **versions, "options": options, "medians": run(123456.7)}

    assert 80 >= max(map(len, report.lines(document)))


def test_the_plot_is_a_picture() -> None:
    """Well-formed, a pair of bars a row, the longer for the larger figure."""
    root = ET.fromstring(bars("late & later", [("gate", 1.0, 8.0), ("stock", 100.0, 400.0)]))  # noqa: S314 - our own
    every = [bar.get("width", "") for bar in root.iter("{http://www.w3.org/2000/svg}rect")]
    widths = [float(width) for width in every if not width.endswith("%")]

    assert 4 == len(widths)
    assert sorted(widths) == widths
