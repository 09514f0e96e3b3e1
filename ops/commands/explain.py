"""`explain`, `open` and `watch`: what the gate is doing, and why."""

import re
from typing import TYPE_CHECKING, Annotated

import typer

from ops.commands import AsJson, Yes, app
from tasks.intent import PLAN_ID

if TYPE_CHECKING:
    from tasks.outcome import Fill


@app.command()
def explain(
    plan_id: Annotated[str, typer.Argument(help="The plan's id, or the task id of a message that was no plan.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Tell one plan's whole timeline, then what happened, why, and what to do now; exit 1 where nothing is known."""
    from ops.explain import run
    from ops.reach import reachable_settings

    if not re.fullmatch(r"[!-~]{1,300}", plan_id):
        raise typer.BadParameter(f"{plan_id[:80]!a} is not a plan id")
    raise typer.Exit(run(reachable_settings(), plan_id, as_json=as_json))


@app.command()
def watch(
    *,
    symbol: Annotated[str, typer.Option(help="Only decisions on this symbol.")] = "",
    reason: Annotated[str, typer.Option(help="Only this reason, for example missing_p33.")] = "",
    decision: Annotated[str, typer.Option(help="Only EXECUTE, BLOCKED, REJECTED or UNKNOWN.")] = "",
    plan: Annotated[str, typer.Option(help="Only this plan.")] = "",
    since: Annotated[str, typer.Option(help="Begin so long ago (30s, 10m, 2h, 1d), or at an ISO time.")] = "",
    as_json: AsJson = False,
) -> None:
    """Show decisions as they fall, messages set aside and the kill switch, until Ctrl-C."""
    from ops.reach import reachable_settings
    from ops.watch import Filters, run, since_ms
    from tasks.outcome import STATES
    from tasks.reasons import Reason

    if decision and decision not in STATES:
        raise typer.BadParameter(f"{decision!r} is no decision; one of {', '.join(STATES)}")
    if reason and reason not in {each.value for each in Reason}:
        raise typer.BadParameter(f"{reason!r} is no reason; docs/reference.md lists them")
    try:
        since_ms(since or "0s", 0)
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"{since!r} is neither a length of time (10m) nor an ISO time") from None
    filters = Filters(symbol=symbol, reason=reason, decision=decision, plan_id=plan)
    raise typer.Exit(run(reachable_settings(), filters, since, as_json=as_json))


@app.command(name="open")
def open_(  # noqa: PLR0913 - one command, as the contract has it
    *,
    most: Annotated[int, typer.Option(help="List at most so many of each kind.", min=1, max=10_000)] = 20,
    cancel: Annotated[str, typer.Option(metavar="PLAN_ID", help="End this plan; only while nothing is consumed.")] = "",
    resolve: Annotated[str, typer.Option(metavar="PLAN_ID", help="Say what became of this plan's order.")] = "",
    executed: Annotated[
        str, typer.Option(metavar="ORDER_ID,QTY,SIDE", help="With --resolve: the venue has this order.")
    ] = "",
    not_executed: Annotated[bool, typer.Option("--not-executed", help="With --resolve: it has none.")] = False,
    reason: Annotated[str, typer.Option(help="Why, for whoever comes next.")] = "no reason given",
    by: Annotated[str, typer.Option(help="Who; by default the person at this terminal.")] = "",
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """List unfinished plans, unknown orders and messages set aside; or end one of them by hand."""
    from ops.by_hand import run_cancel, run_resolve
    from ops.open_plans import run
    from ops.reach import reachable_settings
    from tasks.settings import person

    if cancel and resolve:
        raise typer.BadParameter("--cancel and --resolve are for different plans: one of them at a time")
    if bool(resolve) != bool(executed or not_executed) or (executed and not_executed):
        raise typer.BadParameter("--resolve goes with one of --executed ORDER_ID,QTY,SIDE and --not-executed")
    fill = _fill(executed) if executed else None
    for plan_id in filter(None, (cancel, resolve)):
        if not re.fullmatch(PLAN_ID[1:-1], plan_id):
            raise typer.BadParameter(f"{plan_id[:80]!a} is not a plan id")
    settings = reachable_settings()
    if cancel:
        raise typer.Exit(run_cancel(settings, cancel, by or person(), reason, yes=yes, as_json=as_json))
    if resolve:
        raise typer.Exit(run_resolve(settings, resolve, fill, by or person(), reason, yes=yes, as_json=as_json))
    raise typer.Exit(run(settings, most=most, as_json=as_json))


def _fill(text: str) -> "Fill":
    from tasks.outcome import Fill

    found = re.fullmatch(r"([!-+\--~]{1,100}),([0-9]{1,15}(?:\.[0-9]{1,15})?),(BUY|SELL)", text)
    if found is None or not float(found[2]):
        raise typer.BadParameter(f"{text[:80]!a} is not ORDER_ID,QTY,SIDE, for example 4711,0.008,SELL")
    return Fill(order_id=found[1], side=found[3], qty=found[2])
