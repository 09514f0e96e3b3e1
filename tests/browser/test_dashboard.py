"""The dashboard in a real browser, during a run with every outcome: what a person sees, and what nobody gets."""

import json
from collections.abc import Iterator

import pytest
from flower.urls import handlers
from flower.views.error import NotFoundErrorHandler
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from tornado.routing import URLSpec
from tornado.web import RequestHandler

from tests.browser.chromium import HEIGHT, WIDTH, browser, chromium_or_skip
from tests.browser.pages import open_plan, open_tasks, open_workers, rows, until
from tests.browser.stage import CARELESS, LOGIN_PASSWORD, REDIS_PASSWORD, Stage, id_of, started_stage
from tests.worker.nodes import plan

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

SECRETS = (REDIS_PASSWORD, LOGIN_PASSWORD, CARELESS)


@pytest.fixture(scope="module")
def chromium() -> tuple[str, str]:
    """Where Chromium and its driver are; asked before anything is started for them."""
    return chromium_or_skip()


@pytest.fixture(scope="module")
def stage(chromium: tuple[str, str]) -> Iterator[Stage]:
    """One run for all tests of this file."""
    _ = chromium
    with started_stage() as stage:
        yield stage


@pytest.fixture
def chrome(chromium: tuple[str, str]) -> Iterator[Chrome]:
    """A browser that has seen nothing yet."""
    with browser(*chromium) as chrome:
        yield chrome


def test_every_outcome_is_told_apart_at_a_glance(stage: Stage, chrome: Chrome) -> None:
    """Each plan has its row: its own id, what it wants, a state of its own kind, and in words how it ended."""
    seen = open_tasks(chrome, stage)
    states = {plan_id: cells[0] for plan_id, cells in seen.items()}
    results = {plan_id: cells[3] for plan_id, cells in seen.items()}

    assert {shown.plan_id: shown.state for shown in stage.shown} == states
    assert [] == [shown for shown in stage.shown if not results[shown.plan_id].startswith(shown.result)]
    assert {"SUCCESS", "BLOCKED", "VENUE-REJECTED", "WAITING", "FAILURE"} == set(states.values())
    assert ["BTCUSDT PARTIAL_75", "ETHUSDT PARTIAL_50"] == [seen[id_of(title)][2] for title in ("closes", "half")]


def test_only_an_order_is_green_and_only_an_unknown_one_red(stage: Stage, chrome: Chrome) -> None:
    """The colours are for orders alone; the words say the same without colour."""
    open_tasks(chrome, stage)
    green = chrome.find_elements(By.CSS_SELECTOR, "#tasks-table .text-bg-success")

    red = chrome.find_elements(By.CSS_SELECTOR, "#tasks-table .text-bg-danger")

    assert ["FAILURE"] == [badge.text for badge in red]
    assert ["SUCCESS"] * sum(shown.result.startswith("EXECUTE") for shown in stage.shown) == [b.text for b in green]


def test_the_list_fits_a_laptop(stage: Stage, chrome: Chrome) -> None:
    """At 1400 pixels every column is seen whole, and what a result says first is not cut."""
    open_tasks(chrome, stage)
    right = chrome.execute_script(
        "return Math.max(...[...document.querySelectorAll('#tasks-table th, #tasks-table td')]"
        ".map(cell => cell.getBoundingClientRect().right))"
    )
    words = chrome.execute_script(
        "return [...document.querySelectorAll('#tasks-table tbody tr')].map(row => { const cell = row.cells[3];"
        " const range = document.createRange(); range.setStart(cell.firstChild, 0);"
        " range.setEnd(cell.firstChild, cell.firstChild.data.split('\\u00a0')[0].length);"
        " return [range.getBoundingClientRect().right, cell.getBoundingClientRect().right] })"
    )

    assert (WIDTH, HEIGHT) == tuple(chrome.execute_script("return [innerWidth, innerHeight]"))
    assert right <= WIDTH
    assert len(words) == len(stage.shown)
    assert [] == [(end, edge) for end, edge in words if end > edge]


@pytest.mark.parametrize("state", ["BLOCKED", "VENUE-REJECTED", "WAITING", "SUCCESS", "FAILURE"])
def test_what_the_list_shows_can_be_searched(stage: Stage, chrome: Chrome, state: str) -> None:
    """The words on the badges are the words to search for."""
    open_tasks(chrome, stage, f"state:{state}")
    wanted = {shown.plan_id for shown in stage.shown if shown.state == state}

    until(chrome, lambda page: rows(page).keys() == wanted)


def test_a_plans_page_has_every_fact(stage: Stage, chrome: Chrome) -> None:
    """Under its plan id, a blocked plan says what was missing, an executed one which order it became."""
    blocked = open_plan(chrome, stage, "late").splitlines()
    executed = open_plan(chrome, stage, "closes")

    assert {"BLOCKED", "BTCUSDT PARTIAL_75", "error: permit_timeout_or_missing:missing_p33"} <= set(blocked)
    assert "client_order_id: pw-" in executed
    assert "'reduce_only': True" in executed


def test_the_workers_page_counts_orders_as_successes(stage: Stage, chrome: Chrome) -> None:
    """Both workers are online; succeeded means ordered, and a block is neither a success nor a failure."""
    text = open_workers(chrome, stage)
    orders = sum(shown.state == "SUCCESS" for shown in stage.shown)
    failed = sum(shown.state == "FAILURE" for shown in stage.shown)

    assert str(orders) == until(chrome, lambda page: page.find_element(By.ID, "workers-succeeded").text)
    # Its message was delivered again while its order was looked up for a minute, and each message tells the end.
    assert failed <= int(chrome.find_element(By.ID, "workers-failed").text) <= 2 * failed
    assert "Online" in text


def test_nobody_sees_anything_without_the_login(stage: Stage) -> None:
    """Every page and every part of the API asks for it; the two answers that do not name no plan."""
    paths = ["/", "/tasks", "/workers", "/broker", f"/task/{id_of('closes')}", "/api/tasks", "/api/workers"]
    wrong = "desk:wrong-password"
    open_answers = [stage.dashboard.ask("GET", path, login=None) for path in ("/metrics", "/healthcheck")]

    assert [401] * len(paths) == [stage.dashboard.ask("GET", path, login=None)[0] for path in paths]
    assert [401] * len(paths) == [stage.dashboard.ask("GET", path, login=wrong)[0] for path in paths]
    assert 401 == stage.dashboard.ask("POST", "/tasks/datatable", login=None)[0]
    assert [200, 200] == [status for status, _ in open_answers]
    assert [] == [text for _, text in open_answers for shown in stage.shown if shown.plan_id in text]


def writing_routes() -> list[tuple[str, str]]:
    """Method and path of everything but reading that the installed Flower can be asked for."""
    routes = [(h.regex.pattern, h.handler_class) if isinstance(h, URLSpec) else h[:2] for h in handlers]
    return [
        (method, path.rstrip("$").replace("(.+)", "tasks.execute"))
        for path, view in routes
        for method in ("POST", "PUT", "PATCH", "DELETE")
        if view is not NotFoundErrorHandler
        if getattr(view, method.lower()) is not getattr(RequestHandler, method.lower())
    ]


def test_nobody_changes_anything_with_the_login(stage: Stage, chrome: Chrome) -> None:
    """Whatever Flower can be asked to do it refuses, and shows no button for; only its own list is read by POST."""
    forged = json.dumps({"kwargs": {"intent": plan("forged", "BTCUSDT")}, "task_id": "forged"})
    answers = {path: stage.dashboard.ask(method, path, body=forged)[0] for method, path in writing_routes()}
    chrome.get(f"{stage.dashboard.url_with_login}/worker/{stage.workers[1]}")
    page = until(chrome, lambda page: page.find_element(By.ID, "main-content"))

    assert len(answers) > 10
    assert {"/tasks/datatable"} == {path for path, status in answers.items() if status != 403}
    assert [] == [button.text for button in page.find_elements(By.TAG_NAME, "button")]
    assert 0 == stage.site.client.exists(stage.site.keys.record("forged"))


def test_no_secret_is_shown(stage: Stage, chrome: Chrome) -> None:
    """Not the password of the broker, nor the login's, nor what a careless client put into an intent."""
    dashboard = stage.dashboard
    stage_ids = [id_of("closes"), *(shown.plan_id for shown in stage.shown if shown.state == "WAITING")]
    paths = ["/tasks", "/workers", "/broker", "/api/tasks", "/api/workers?refresh=1", "/metrics"]
    paths += [f"/task/{plan_id}" for plan_id in stage_ids] + [f"/worker/{name}" for name in stage.workers]
    texts = {path: dashboard.ask("GET", path) for path in paths}
    open_tasks(chrome, stage)

    assert {200} == {status for status, _ in texts.values()}
    assert [] == [path for path, (_, text) in texts.items() for secret in SECRETS if secret in text]
    assert [] == [secret for secret in SECRETS if secret in chrome.page_source]
    assert "desk:**" in texts[f"/worker/{stage.workers[1]}"][1]
