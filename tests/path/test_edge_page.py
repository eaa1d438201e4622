"""The exported page in a real browser: it ranks as ONNX Runtime does here, by what is clicked, and tells nobody."""

import json
import shutil
import subprocess
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from vetrina import Shop
from vetrina.core.onnx_session import session
from vetrina.pipeline.export import export

pytestmark = pytest.mark.heavy
CHROMIUM, NPM = shutil.which("chromium"), shutil.which("npm")
RANKED = """async (clicks) => {
    const { open } = await import("./rerank.mjs");
    const shelf = await open();
    return Array.from(await shelf.scores(clicks));
}"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nothing on the terminal."""


@pytest.fixture(scope="module")
def folder(pristine, tmp_path_factory) -> Path:
    if not CHROMIUM or not NPM:
        pytest.skip("needs chromium and npm: apt-get install chromium npm")
    shop = Shop(shutil.copytree(pristine[0], tmp_path_factory.mktemp("browser") / "shop"))
    into = tmp_path_factory.mktemp("page") / "shelf"
    export(shop, shop.workshop.registry.champion("recommend")[0], "onnx", into, 40)
    subprocess.run([NPM, "install", "--no-audit", "--no-fund"], cwd=into, check=True, capture_output=True, timeout=300)
    return into


@pytest.fixture
def served(folder):
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def page(served):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        opened = browser.new_page()
        opened.goto(served)
        opened.wait_for_selector("#shelf li")
        yield opened
        browser.close()


def shown(page) -> list[str]:
    return [button.get_attribute("data-product") for button in page.query_selector_all("#shelf button")]


def test_the_browser_ranks_as_the_runtime_here_does(page, folder):
    shelf = json.loads((folder / "shelf.json").read_bytes())
    ids = [product["id"] for product in shelf["products"]]
    student = session(folder / "student.onnx")
    for clicks, items, gaps in (
        ([], [-1], [0]),
        ([(3, 0)], [3], [0]),
        ([(3, 0), (7, 60), (1, 60.5), (5, 100_000)], [5, 1, 7, 3], [17, 1, 6, 0]),
    ):
        given = {"items": np.array([items]), "gaps": np.array([gaps])}
        wanted = student.run(None, given)[0][0]
        said = page.evaluate(RANKED, [{"id": ids[item], "at": at} for item, at in clicks])
        np.testing.assert_allclose(said, wanted, atol=1e-4)


def test_clicks_change_the_shelf_and_stay_on_the_device(page, tmp_path):
    asked: list[str] = []
    before = shown(page)
    page.on("request", lambda request: asked.append(request.url))
    parity = int(before[0].strip("p")) % 2

    def share() -> float:
        return float(np.mean([int(i.strip("p")) % 2 == 1 - parity for i in shown(page)[:8]]))

    for _ in range(6):
        other = next(i for i in shown(page) if int(i.strip("p")) % 2 == 1 - parity)
        page.click(f"button[data-product='{other}']")
        page.locator("#said", has_text="looked at").wait_for()
    assert share() >= 0.75
    assert asked == []
    assert len(json.loads(page.evaluate("localStorage.getItem('vetrina.clicks')"))) == 6
    # A page that is opened again still knows; one that is told to forget does not.
    page.reload()
    page.wait_for_selector("#shelf li")
    assert share() >= 0.75
    page.click("#forget")
    page.locator("#said", has_text="most like").wait_for()
    assert shown(page) == before
    page.screenshot(path=str(tmp_path / "shelf.png"))


def test_what_cannot_be_opened_is_said_on_the_page(served, folder):
    from playwright.sync_api import sync_playwright

    student = folder / "student.onnx"
    content = student.read_bytes()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            student.write_bytes(content[: len(content) // 2])
            opened = browser.new_page()
            opened.goto(served)
            opened.locator("#said", has_text="cannot be opened").wait_for()
        finally:
            student.write_bytes(content)
            browser.close()
