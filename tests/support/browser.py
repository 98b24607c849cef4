"""Debian's Chromium by Playwright, and what a page of the console is asked."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from support.consoles import PASSWORD
from support.programs import PATIENCE_S

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
PATIENCE_MS = 1000.0 * PATIENCE_S


@contextmanager
def chromium(*more: str) -> Iterator[Browser]:
    """Run a browser while the block runs."""
    program = shutil.which("chromium")
    if program is None:
        pytest.fail("chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[*FLAGS, *more])
        try:
            yield browser
        finally:
            browser.close()


class Visit:
    """A page of a console that somebody has logged in to.

    Parameters
    ----------
    browser : Browser
    url : str
        Of the console.
    user : str
        The name of the role, too; empty: nobody logs in.
    password : str, optional
    more : object
        Of the browser's context, such as `viewport` and `locale`; `script` runs before the page's,
        `clock` is what the browser's clock shows.

    Attributes
    ----------
    errors : list of str
        Errors of scripts.
    requested : list of str
        Every address that the page has asked for.
    """

    def __init__(
        self,
        browser: Browser,
        url: str,
        user: str = "responder",
        *,
        password: str = PASSWORD,
        **more: Any,  # noqa: ANN401
    ) -> None:
        fields: dict[str, Any] = {"locale": "en-GB", "viewport": {"width": 1280, "height": 900}}
        script, clock = more.pop("script", ""), more.pop("clock", None)
        self.context: BrowserContext = browser.new_context(**(fields | more))
        self.context.set_default_timeout(PATIENCE_MS)
        if clock is not None:
            self.context.clock.install(time=clock)
        if script:
            self.context.add_init_script(script)
        self.errors: list[str] = []
        self.requested: list[str] = []
        self.url = url
        self.page = self.open()
        if user:
            self.login(user, password)

    def open(self) -> Page:
        """Open the console in a page of its own, in which nobody has pressed anything."""
        page = self.context.new_page()
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.requested.append(request.url))
        page.goto(self.url)
        return page

    def login(self, user: str, password: str = PASSWORD) -> None:
        """Log in by the form, as a person does."""
        self.page.fill("#user", user)
        self.page.fill("#password", password)
        self.page.click("button[type=submit]")
        self.page.wait_for_selector(".wall, .bed, .alert")

    def until(self, script: str, *arguments: object) -> None:
        """Wait until an expression in the page is true; its policy forbids to poll inside."""
        deadline = time.monotonic() + PATIENCE_MS / 1000.0
        while not self.page.evaluate(script, list(arguments)):
            if time.monotonic() > deadline:
                pytest.fail(f"not within {PATIENCE_S:g} s: {script}")
            self.page.wait_for_timeout(50.0)

    def close(self) -> None:
        """Close the page, and say whether a script failed or another host was asked."""
        self.context.close()
        assert self.errors == []
        others = [url for url in self.requested if not url.startswith((self.url, "blob:"))]
        assert others == [], others


def faults(page: Page) -> list[str]:
    """Return what axe calls a serious or critical fault of accessibility."""
    axe = resources.files("axe_playwright_python") / "axe.min.js"
    page.evaluate(axe.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{fault['id']}: {fault['help']}: {[node['html'][:200] for node in fault['nodes'][:3]]}"
        for fault in found["violations"]
        if fault["impact"] in {"serious", "critical"}
    ]
