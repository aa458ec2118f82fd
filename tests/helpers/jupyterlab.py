"""A real JupyterLab in a real Chromium, for tests that open notebooks as a user does."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
TOKEN = "h2a-tests"
SECONDS_TO_START = 60
SECONDS_TO_RUN = 240
# What a live view of ours consists of, in JupyterLab's page.
SLIDER = ".jp-OutputArea .widget-slider .noUi-handle"
PICTURE = ".jp-OutputArea img.jupyter-widgets"


@contextlib.contextmanager
def server(folder: Path, **environment: str) -> Iterator[str]:
    """Serve a folder's notebooks, and give the address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {"token": TOKEN, "port": port, "root_dir": str(folder), "open_browser": False}
    options = [f"--ServerApp.{name}={value}" for name, value in settings.items()]
    command = [sys.executable, "-m", "jupyter", "lab", "--allow-root", *options]
    quiet = subprocess.DEVNULL
    environment = os.environ | environment
    address = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=quiet, stderr=quiet) as lab:
        try:
            _wait_for(f"{address}/api/status?token={TOKEN}")
            yield address
        finally:
            lab.terminate()


def _wait_for(address: str) -> None:
    for _ in range(SECONDS_TO_START * 5):
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            urllib.request.urlopen(address, timeout=2)
            return
        time.sleep(0.2)
    raise TimeoutError("JupyterLab did not start")


@contextlib.contextmanager
def browser() -> Iterator[Any]:
    """Give a page of a Chromium, large enough for a notebook's figures."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = opened.new_page(viewport={"width": 1440, "height": 1600})
        page.set_default_timeout(SECONDS_TO_START * 1000)
        yield page
        opened.close()


def run_all(page: Any, address: str, notebook: str) -> None:
    """Open a notebook and run all its cells; return when the last has run or one has failed."""
    page.goto(f"{address}/lab/workspaces/auto-t/tree/{notebook}?token={TOKEN}&reset")
    page.wait_for_selector(".jp-Notebook .jp-CodeCell")
    # Off-screen cells are only rendered when they come near: all must be, to be looked at.
    page.wait_for_function("() => document.querySelector('.jp-Notebook-ExecutionIndicator')")
    page.wait_for_timeout(1500)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    status = "document.querySelector('.jp-Notebook-ExecutionIndicator')?.dataset.status"
    page.wait_for_function(f"() => {status} === 'busy'")
    page.wait_for_function(f"() => {status} === 'idle'", timeout=SECONDS_TO_RUN * 1000)


def saved(page: Any, folder: Path, notebook: str) -> list[dict]:
    """Save the notebook as a user does, and return its code cells with their outputs."""
    page.keyboard.press("Escape")
    page.keyboard.press("Control+s")
    page.wait_for_timeout(2000)
    cells = json.loads((folder / notebook).read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def move(page: Any, slider: Any) -> None:
    """Move a slider by one step, with the keyboard."""
    slider.scroll_into_view_if_needed()
    slider.focus()
    page.keyboard.press("ArrowRight")
