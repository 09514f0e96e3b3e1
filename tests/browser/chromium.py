"""A headless Chromium of this machine, with a profile of its own, and what it shows of one dashboard."""

import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

from tests.packages import need

#: Size of the window, pixels: what a small laptop shows.
WIDTH: Final = 1400
HEIGHT: Final = 900

_OPTIONS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    f"--window-size={WIDTH},{HEIGHT}",
)


def chromium_or_skip() -> tuple[str, str]:
    """Paths of Chromium and of its driver; without them a skip on a laptop, a failure where `CI=true`."""
    return need("chromium"), need("chromedriver")


@contextmanager
def browser(binary: str, driver: str) -> Iterator[Chrome]:
    """A fresh browser whose page is exactly `WIDTH` by `HEIGHT`; gone afterwards."""
    with TemporaryDirectory(prefix="pw-chromium-") as profile:
        options = ChromeOptions()
        options.binary_location = binary
        for option in (*_OPTIONS, f"--user-data-dir={profile}/profile"):
            options.add_argument(option)
        chrome = Chrome(options=options, service=Service(driver, env={**os.environ, "HOME": profile}))
        try:
            metrics = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
            chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
            yield chrome
        finally:
            chrome.quit()


def photograph(chrome: Chrome, path: Path) -> None:
    """Keep what the page shows now as a PNG, packed as small as its pixels allow."""
    path.write_bytes(packed(chrome.get_screenshot_as_png()))


def packed(png: bytes) -> bytes:
    """The same picture with its pixels compressed again: Chromium compresses for speed."""
    head, pixels, tail, at = png[:8], b"", b"", 8
    while at < len(png):
        length = int.from_bytes(png[at : at + 4])
        kind, chunk = png[at + 4 : at + 8], png[at : at + 12 + length]
        if kind == b"IDAT":
            pixels += chunk[8:-4]
        elif pixels:
            tail += chunk
        else:
            head += chunk
        at += 12 + length
    data = b"IDAT" + zlib.compress(zlib.decompress(pixels), 9)
    return head + (len(data) - 4).to_bytes(4) + data + zlib.crc32(data).to_bytes(4) + tail
