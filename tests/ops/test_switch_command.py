"""`permitwait halt`, `resume` and `paper`: what an operator sets by hand, and what stands in Redis afterwards."""

import json

import pytest
import redis

from tasks.keys import Keys
from tasks.parts import Parts
from tasks.settings import Settings
from tests.helpers import grant, hold, intent_of, orders_of, run_to_outcome, texts
from tests.ops.command_call import Command, Terminal, any_command


@pytest.fixture
def command(settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """The tool on this test's server."""
    return any_command(settings, monkeypatch, capsys)


def test_halt_stops_orders_and_says_who_and_why(
    client: redis.Redis, keys: Keys, parts: Parts, command: Command
) -> None:
    """After `halt` a plan with every permit ends as kill_switch; who, why and when stand beside the switch."""
    hold(client, keys)
    grant(client, keys, "plan-1")
    done = command("halt", "--reason", "exchange maintenance")

    outcome = run_to_outcome(parts, intent_of())
    info = texts(client.hgetall(keys.kill_switch_info))  # type: ignore[arg-type] # bytes, as this client answers

    assert 0 == done.code
    assert "kill_switch" == outcome.reason
    assert [] == orders_of(client, keys)
    assert b"true" == client.get(keys.kill_switch)
    assert "exchange maintenance" == info["why"]
    assert {"who", "why", "when"} == info.keys()


@pytest.mark.parametrize(
    ("arguments", "typed", "code"),
    [((), None, 1), ((), "n\n", 1), ((), "\n", 1), ((), "y\n", 0), (("--yes",), None, 0)],
)
def test_only_a_confirmed_resume_clears_the_switch(
    client: redis.Redis, keys: Keys, command: Command, arguments: tuple[str, ...], typed: str | None, code: int
) -> None:
    """It shows who set the switch and why, asks, and clears both keys only after a yes."""
    command("halt", "--reason", "drill")
    done = command("resume", *arguments, stdin=None if typed is None else Terminal(typed))

    assert code == done.code
    assert "drill" in done.err
    assert (0 if code == 0 else 2) == client.exists(keys.kill_switch, keys.kill_switch_info)


def test_resume_without_a_halt_changes_nothing(client: redis.Redis, keys: Keys, command: Command) -> None:
    """A switch that is off needs no confirmation, and `--json` is one document."""
    client.set(keys.kill_switch, "off")
    done = command("resume", "--json")

    assert (0, {"halted": False}) == (done.code, json.loads(done.out))
    assert b"off" == client.get(keys.kill_switch)


def test_a_switch_of_another_type_is_a_set_switch(client: redis.Redis, keys: Keys, command: Command) -> None:
    """Whatever stands there is shown, and cleared by a confirmed resume."""
    client.hset(keys.kill_switch, "a", "b")
    done = command("resume", "--yes")

    assert 0 == done.code
    assert "a Redis hash" in done.err
    assert 0 == client.exists(keys.kill_switch)


def test_paper_sets_and_shows_a_position(client: redis.Redis, keys: Keys, command: Command) -> None:
    """Amount, price and step are set as given, a negative amount is short, and what is not given stays."""
    command("paper", "BTCUSDT", "--amount", "0.062", "--price", "64000", "--step", "0.001")
    done = command("paper", "BTCUSDT", "--amount", "-0.5", "--json")

    assert 0 == done.code
    assert {"symbol": "BTCUSDT", "position_amt": "-0.5", "mark_price": "64000", "step": "0.001"} == json.loads(done.out)
    assert b"-0.5" == client.hget(keys.paper_position("BTCUSDT"), "position_amt")


@pytest.mark.parametrize("wrong", [["--amount", "much"], ["--amount", "1e3"], ["--price", "NaN"], ["--step", ""]])
def test_paper_refuses_what_is_no_plain_number(
    client: redis.Redis, keys: Keys, command: Command, wrong: list[str]
) -> None:
    """A usage error, and nothing is written."""
    done = command("paper", "BTCUSDT", *wrong)

    assert 2 == done.code
    assert 0 == client.exists(keys.paper_position("BTCUSDT"))
