"""The dashboard's pages in a browser: opened as a person opens them, read as they show."""

from collections.abc import Callable
from typing import Any, Final

from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.browser.stage import Stage, id_of

_WITHIN_S: Final = 20


def until(chrome: Chrome, condition: Callable[[Chrome], Any]) -> Any:
    """The first true value of `condition`."""
    return WebDriverWait(chrome, _WITHIN_S).until(condition)


def open_tasks(chrome: Chrome, stage: Stage, search: str = "") -> dict[str, list[str]]:
    """Open the task list, search where asked to, and read it: the cells of each row by plan id, as a person sees them.

    Returns when as many rows are there as the list says that it shows.
    """
    chrome.get(f"{stage.dashboard.url_with_login}/tasks")
    until(chrome, lambda page: page.find_elements(By.CSS_SELECTOR, "#tasks-table tbody tr[id]"))
    if search:
        chrome.find_element(By.CSS_SELECTOR, "#tasks-table_filter input").send_keys(search)
        until(chrome, lambda page: _answered(page) and rows(page))
    return rows(chrome)


def _answered(chrome: Chrome) -> bool:
    # Every letter typed is a search of its own, the first ones are refused as too short.
    filtered = "filtered from" in chrome.find_element(By.ID, "tasks-table_info").text
    return filtered and not chrome.find_element(By.ID, "task-search-error").is_displayed()


def rows(chrome: Chrome) -> dict[str, list[str]]:
    """Text of the cells of each row of the task list, by plan id."""
    found: list[list[str]] = chrome.execute_script(
        "return [...document.querySelectorAll('#tasks-table tbody tr[id]')]"
        ".map(row => [row.id, ...[...row.cells].map(cell => cell.innerText)])"
    )
    return {row[0]: row[1:] for row in found}


def open_plan(chrome: Chrome, stage: Stage, title: str) -> str:
    """Open one plan's page; its text."""
    chrome.get(f"{stage.dashboard.url_with_login}/task/{id_of(title)}")
    return str(until(chrome, lambda page: page.find_element(By.ID, "task-page")).text)


def open_workers(chrome: Chrome, stage: Stage) -> str:
    """Open the list of workers; its text once all are there."""
    chrome.get(f"{stage.dashboard.url_with_login}/workers")
    until(
        chrome,
        lambda page: (
            all(name in page.find_element(By.ID, "workers-table").text for name in stage.workers)
            and page.find_element(By.ID, "workers-online").text == str(len(stage.workers))
        ),
    )
    return str(chrome.find_element(By.ID, "main-content").text)
