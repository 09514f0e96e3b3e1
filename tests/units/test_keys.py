"""Every key name, letter by letter: other services write and read them."""

import hashlib

import pytest

from tasks.keys import Keys, client_order_id

NAMES = {
    "permit governor": (Keys().permit("governor", "plan-1"), "quantum:permit:plan-1"),
    "permit p33": (Keys().permit("p33", "plan-1"), "quantum:permit:p33:plan-1"),
    "permit p26": (Keys().permit("p26", "plan-1"), "quantum:permit:p26:plan-1"),
    "block record": (Keys().governor_block("plan-1"), "quantum:governor:block:plan-1"),
    "record": (Keys().record("plan-1"), "quantum:apply:execution:plan-1"),
    "timeline": (Keys().timeline("plan-1"), "quantum:apply:timeline:plan-1"),
    "stats": (Keys().stats, "quantum:apply:stats"),
    "open": (Keys().open, "quantum:apply:open"),
    "kill switch": (Keys().kill_switch, "quantum:global:kill_switch"),
    "plans": (Keys().plans, "quantum:stream:apply.plan"),
    "results": (Keys().results, "quantum:stream:apply.result"),
    "rejected": (Keys().rejected, "quantum:stream:apply.rejected"),
    "audit": (Keys().audit, "quantum:stream:apply.audit"),
    "paper position": (Keys().paper_position("BTCUSDT"), "quantum:paper:position:BTCUSDT"),
    "paper orders": (Keys().paper_orders, "quantum:stream:paper.orders"),
}


@pytest.mark.parametrize(("name", "expected"), NAMES.values(), ids=NAMES)
def test_names_are_the_contracts(name: str, expected: str) -> None:
    """Each key has the name that the contract gives it."""
    assert expected == name


def test_the_namespace_is_the_first_part_of_every_key() -> None:
    """Two namespaces share no key."""
    one, two = Keys("one"), Keys("two")
    names = [name for name in dir(Keys) if not name.startswith("_") and name != "namespace"]
    arguments = {"permit": ("p33", "x")}
    made = [
        (member(*arguments.get(name, ("x",))) if callable(member := getattr(keys, name)) else member)
        for keys in (one, two)
        for name in names
    ]

    assert len(names) * 2 == len(set(made))
    assert ["one"] * len(names) + ["two"] * len(names) == [key.partition(":")[0] for key in made]


@pytest.mark.parametrize("plan_id", ["f1a8d7f48713d5cf", "x", "A-b_" * 16])
def test_the_client_order_id(plan_id: str) -> None:
    """It is made from the plan id alone, and fits an exchange that allows 36 characters."""
    made = client_order_id(plan_id)

    assert "pw-" + hashlib.sha256(plan_id.encode()).hexdigest()[:32] == made
    assert 35 == len(made)


def test_a_known_client_order_id() -> None:
    """The figure does not change between versions: orders are found again by it."""
    assert "pw-" + "2d711642b726b04401627ca9fbac32f5" == client_order_id("x")
