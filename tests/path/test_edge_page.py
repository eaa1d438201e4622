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
from onnxruntime import InferenceSession

from vetrina import Shop
from vetrina.bundle.onnx_session import open_session
from vetrina.core.progress import NoProgress
from vetrina.edge import repeat_consumption_distillation, sequence_distillation
from vetrina.edge.export import export_student
from vetrina.features.histories import Histories
from vetrina.scenarios.recommend.online import Recommender

pytestmark = pytest.mark.browser
CHROMIUM = shutil.which("chromium")
NPM = shutil.which("npm")
RANKED = """async ([clicks, now]) => {
    const { open } = await import("./rerank.mjs");
    const shelf = await open();
    return Array.from(await shelf.scores(clicks, now));
}"""
FACTS = """async ([clicks, now]) => {
    const { facts_of } = await import("./rerank.mjs");
    return facts_of(clicks, now);
}"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nothing on the terminal."""


@pytest.fixture(scope="module", params=["habits", "sequence"])
def folder(request, pristine, tmp_path_factory) -> Path:
    """Of a version that shows users what they had, and as if it showed new products alone."""
    if not CHROMIUM or not NPM:
        pytest.skip("needs chromium and npm: apt-get install chromium npm")
    shop = Shop(shutil.copytree(pristine[0], tmp_path_factory.mktemp("browser") / "shop"))
    into = tmp_path_factory.mktemp("page") / "shelf"
    with pytest.MonkeyPatch.context() as patched:
        if request.param == "sequence":
            patched.setattr(Recommender, "is_excluding_seen", lambda self, name: True)
        version = shop.shop_context.registry.champion("recommend")[0]
        export_student(shop.folder, version, "onnx", into, 40, NoProgress())
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


CLICKS = ([], [(3, 0)], [(3, 0), (7, 60), (1, 60.5), (3, 90_000), (5, 100_000), (7, 2e6)])
NOW = 2e6 + 500


def habits_of(clicks: list[tuple[int, float]]) -> tuple[np.ndarray, np.ndarray]:
    """As the shop's own code has it, from the same clicks."""
    histories = Histories.__new__(Histories)  # of which nothing is asked but to fold events in
    histories.until = 0.0
    history = histories.history_of(None, ((item, time, 1.0) for item, time in clicks), NOW)
    return repeat_consumption_distillation.repeat_consumption_features(history)


def test_the_browser_knows_the_facts_that_the_shop_knows(page):
    for clicks in CLICKS:
        browser_facts = page.evaluate(FACTS, [[{"item": item, "at": at} for item, at in clicks], NOW])
        items, facts = habits_of(clicks)
        if not clicks:
            assert (browser_facts["items"], len(browser_facts["facts"])) == ([-1], 1)
            continue
        assert browser_facts["items"] == items.tolist()
        np.testing.assert_allclose(browser_facts["facts"], facts, rtol=1e-5, atol=1e-6)


def test_the_browser_ranks_as_the_runtime_here_does(page, folder):
    shelf = json.loads((folder / "shelf.json").read_bytes())
    ids = [product["id"] for product in shelf["products"]]
    student = open_session(folder / "student.onnx")
    for clicks in CLICKS:
        items = np.array([item for item, _ in clicks], np.int64)
        times = np.array([time for _, time in clicks])
        if shelf["reads"] == "gaps":
            inputs = sequence_distillation.student_inputs([(items, times)])
            given = {"items": inputs.items[:, : max(1, len(items))], "gaps": inputs.gaps[:, : max(1, len(items))]}
        elif clicks:
            own, facts = habits_of(clicks)
            given = {"items": own[None].astype(np.int64), "facts": facts[None]}
        else:
            given = {"items": np.array([[-1]]), "facts": np.zeros((1, 1, facts_each(student)), np.float32)}
        wanted = student.run(None, given)[0][0]
        ranked = page.evaluate(RANKED, [[{"id": ids[item], "at": at} for item, at in clicks], NOW])
        np.testing.assert_allclose(ranked, wanted, atol=1e-4)


def facts_each(student: InferenceSession) -> int:
    """Columns of the input."""
    return next(given.shape[2] for given in student.get_inputs() if given.name == "facts")


def test_clicks_change_the_shelf_and_stay_on_the_device(page, tmp_path):
    requested_urls: list[str] = []
    before = shown(page)
    page.on("request", lambda request: requested_urls.append(request.url))
    parity = int(before[0].strip("p")) % 2

    def share() -> float:
        return float(np.mean([int(i.strip("p")) % 2 == 1 - parity for i in shown(page)[:8]]))

    for _ in range(6):
        other = next(i for i in shown(page) if int(i.strip("p")) % 2 == 1 - parity)
        page.click(f"button[data-product='{other}']")
        page.locator("#said", has_text="looked at").wait_for()
    assert share() >= 0.75
    assert requested_urls == []
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
