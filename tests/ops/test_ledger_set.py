"""`permitwait ledger SYMBOL --set-from-exchange`: the evidence first, and nothing written that was not confirmed."""

import getpass
import io
import json
from decimal import Decimal

import pytest
import redis

from ops.ledger import gather, set_ledger
from tasks import act
from tasks.consume import Gate
from tasks.keys import Keys
from tasks.parts import Parts
from tasks.position import evaluate
from tasks.settings import LEDGER_TTL_S, PositionSettings, Settings
from tests.helpers import GOVERNOR, hold, intent_of, run_to_outcome
from tests.judges.position_bed import NO_REST, answer_of, give_ledger, give_snapshot, ledger_of, paper_amount
from tests.ops.command_call import Command, Terminal, ledger_command


@pytest.fixture
def command(settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """`permitwait ledger …` on the server of this test."""
    return ledger_command(settings, monkeypatch, capsys)


def test_without_a_person_and_without_yes_nothing_is_set(client: redis.Redis, keys: Keys, command: Command) -> None:
    """A script that forgot `--yes` changes nothing, and is told so."""
    hold(client, keys)
    give_ledger(client, keys, "0.002")

    said = command("BTCUSDT", "--set-from-exchange", stdin=io.StringIO("y\n"))

    assert (1, True, True) == (said.code, "--yes" in said.err, "nothing was changed" in said.err)
    assert "DO NOT AGREE" in said.out
    assert {"last_known_amt": "0.002"} == ledger_of(client, keys)


@pytest.mark.parametrize("typed", ["\n", "n\n", "no\n", "yep\n", "set\n"])
def test_a_person_who_does_not_say_yes_changes_nothing(
    client: redis.Redis, keys: Keys, command: Command, typed: str
) -> None:
    """Only y or yes confirms."""
    hold(client, keys)
    give_ledger(client, keys, "0.002")

    said = command("BTCUSDT", "--set-from-exchange", stdin=Terminal(typed))

    assert (1, True) == (said.code, "nothing was changed" in said.err)
    assert {"last_known_amt": "0.002"} == ledger_of(client, keys)


@pytest.mark.parametrize("typed", ["y\n", "yes\n", " YES \n"])
def test_a_person_sees_the_evidence_before_the_question(
    client: redis.Redis,
    keys: Keys,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    typed: str,
) -> None:
    """The amounts stand on the screen, and the ledger as it was, when the confirmation is asked for."""
    hold(client, keys)
    give_ledger(client, keys, "0.002")
    shown: list[str] = []

    def answer() -> str:
        screen = capsys.readouterr()
        shown.append(screen.out + screen.err)
        assert {"last_known_amt": "0.002"} == ledger_of(client, keys)
        return typed

    monkeypatch.setattr("builtins.input", answer)

    said = command("BTCUSDT", "--set-from-exchange", stdin=Terminal())

    assert 0 == said.code
    assert ["0.062", "0.002", "0.060", "Set the ledger of BTCUSDT to 0.062? [y/N]"] == [
        figure
        for figure in ("0.062", "0.002", "0.060", "Set the ledger of BTCUSDT to 0.062? [y/N]")
        if figure in shown[0]
    ]
    assert "0.062" == ledger_of(client, keys)["last_known_amt"]


@pytest.mark.parametrize("held", ["0.062", "-0.062", "0"])
@pytest.mark.parametrize("ledger", ["0.002", None])
def test_yes_sets_it_and_records_who(
    client: redis.Redis, keys: Keys, command: Command, held: str, ledger: str | None
) -> None:
    """The ledger becomes the exchange's amount, with who set it and when, for as long as any ledger."""
    hold(client, keys, held)
    if ledger:
        give_ledger(client, keys, ledger)
    give_snapshot(client, keys, "1", "0.5")
    before = client.time()[0]

    said = command("BTCUSDT", "--set-from-exchange", "--yes")

    now = ledger_of(client, keys)

    assert 0 == said.code
    assert f"ledger of BTCUSDT is now {held}" in said.err
    assert [held, f"set by {getpass.getuser()}"] == [now["last_known_amt"], now["origin"]]
    assert before <= float(now["updated_at"]) <= client.time()[0] + 1
    assert 0 < client.ttl(keys.ledger("BTCUSDT")) <= LEDGER_TTL_S
    assert 0 == client.exists(keys.snapshot("BTCUSDT"))


def test_setting_it_with_json_is_one_document_too(client: redis.Redis, keys: Keys, command: Command) -> None:
    """Afterwards the document says that it was changed, and that they agree."""
    hold(client, keys)
    give_ledger(client, keys, "0.002")

    said = command("BTCUSDT", "--set-from-exchange", "--yes", "--json")

    document = json.loads(said.out)

    assert (0, True, True, "0.062") == (
        said.code,
        document["changed"],
        document["agrees"],
        document["ledger_amt"],
    )


def test_a_ledger_that_changed_meanwhile_is_not_written_over(
    client: redis.Redis, keys: Keys, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was confirmed is what was seen: a ledger moved since then stays as it is."""
    hold(client, keys)
    give_ledger(client, keys, "0.002")

    def answer() -> str:
        give_ledger(client, keys, "0.055")
        return "yes"

    monkeypatch.setattr("builtins.input", answer)

    said = command("BTCUSDT", "--set-from-exchange", stdin=Terminal())

    assert (1, True) == (said.code, "changed while you looked" in said.err)
    assert {"last_known_amt": "0.055"} == ledger_of(client, keys)


def test_setting_it_does_not_end_the_rest_of_a_symbol(
    client: redis.Redis, keys: Keys, parts: Parts, command: Command
) -> None:
    """The last order stays known: a plan right after it is still denied for the cooldown."""
    hold(client, keys, "0.010")
    client.set(keys.permit("governor", "plan-1"), GOVERNOR, ex=60)
    evaluate(parts, NO_REST, intent_of())
    run_to_outcome(parts, intent_of())
    hold(client, keys, "0.062")

    assert 0 == command("BTCUSDT", "--set-from-exchange", "--yes").code

    evaluate(parts, PositionSettings(_env_file=None), intent_of("plan-2"))

    assert "cooldown_in_flight" == answer_of(client, keys, "plan-2")


def test_it_is_not_set_while_an_order_is_under_way(
    client: redis.Redis, keys: Keys, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between an order and its record the exchange already knows what the ledger does not: then nothing is set."""
    hold(client, keys, "0.010")
    client.set(keys.permit("governor", "plan-1"), GOVERNOR, ex=60)
    evaluate(parts, NO_REST, intent_of())
    finish = Gate.finish

    def look_first(gate: Gate, *arguments: object) -> object:
        set_ledger(parts, gather(parts, NO_REST, "BTCUSDT"))
        return finish(gate, *arguments)  # type: ignore[arg-type] # passed on as they came

    monkeypatch.setattr(Gate, "finish", look_first)
    act.execute_once(parts, intent_of())

    assert paper_amount(client, keys) == Decimal(ledger_of(client, keys)["last_known_amt"])


@pytest.mark.parametrize("ledger", ["junk", "NaN"])
def test_an_unreadable_ledger_can_be_set(client: redis.Redis, keys: Keys, command: Command, ledger: str) -> None:
    """A ledger that is no number is shown as it is, and it is the operator who can repair it."""
    hold(client, keys)
    give_ledger(client, keys, ledger)

    said = command("BTCUSDT", "--set-from-exchange", "--yes")

    assert (0, True) == (said.code, ledger in said.out)
    assert "0.062" == ledger_of(client, keys)["last_known_amt"]


def test_a_user_without_a_name_can_set_it(
    client: redis.Redis, keys: Keys, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a container the user may have a number and no name."""

    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr(getpass, "getuser", nameless)
    hold(client, keys)

    said = command("BTCUSDT", "--set-from-exchange", "--yes")

    assert 0 == said.code
    assert ledger_of(client, keys)["origin"].startswith("set by ")


def test_a_person_who_leaves_changes_nothing(client: redis.Redis, keys: Keys, command: Command) -> None:
    """End of input at the question is a no."""
    hold(client, keys)
    give_ledger(client, keys, "0.002")

    said = command("BTCUSDT", "--set-from-exchange", stdin=Terminal(""))

    assert (1, False) == (said.code, "Traceback" in said.err)
    assert {"last_known_amt": "0.002"} == ledger_of(client, keys)
