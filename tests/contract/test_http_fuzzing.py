"""Requests that schemathesis makes of the service's own OpenAPI document, with all its checks, over real HTTP.

No request may end in a 5xx or in an answer that the document does not state, what it states as valid must be taken, and
what it does not must be refused. Of `make test` the scenarios that the shop does not serve answer 503.
"""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
import shops

from vetrina import Shop
from vetrina.store.shop_folder import ShopFolder

# Rules that no schema states: how many columns the served table has, whom an audience is for, when an event may have been.
# Of a batch of events the good ones are taken (207).
CONFIGURATION = """
[[operations]]
include-path = "/v1/events"
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "404", "409", "5xx"]
checks.negative_data_rejection.expected-statuses = ["207", "4xx", "5xx"]
[[operations]]
include-path = ["/v1/predict", "/predict", "/v1/audience"]
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "404", "409", "5xx"]
"""
# The first line belongs to the paths at the end of CONFIGURATION: schemathesis takes one table for each path.
NOTHING_SERVES = """checks.not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", "503"]
[[operations]]
include-path = ["/v1/ads"]
checks.not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", "503"]
"""
WITHOUT_NETWORKS = """
[train]
exclude_models = ["fusion", "sasrec", "gru", "lstm", "dcn", "mlp", "text", "din"]
[gate]
latency_ms = 1e6
"""
START_SECONDS = 60
END_OF_LOG = 1_790_000_000.0


def fuzz(shop: Path, folder: Path, configuration: str, *options: str) -> None:
    """Serve a shop and run schemathesis against it; fails with its report."""
    (folder / "schemathesis.toml").write_text(configuration)
    serve = [sys.executable, "-m", "vetrina.cli", "--shop-dir", str(shop), "serve", "--port", "0"]
    log = (folder / "log").open("w+")
    server = subprocess.Popen(serve, stderr=log)
    try:
        address = _address(folder / "log", server)
        command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(folder / "schemathesis.toml"), "run"]
        command += [f"{address}/openapi.json", "-H", f"Authorization: Bearer {ShopFolder(shop).keys.api_token}"]
        command += ["--checks", "all", "--generation-deterministic", "--no-color", "--no-shrink", *options]
        report = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
        assert report.returncode == 0, report.stdout[-6_000:] + report.stderr[-2_000:]
        assert httpx.get(f"{address}/healthz", timeout=START_SECONDS).text == "ok"
    finally:
        server.terminate()
        server.wait(START_SECONDS)
        log.close()


def _address(log: Path, server: subprocess.Popen[bytes]) -> str:
    """Where the server listens, once it answers."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        _, _, address = log.read_text().partition("listening on ")
        if "\n" in address:
            address = address.splitlines()[0]
            with httpx.Client(transport=httpx.HTTPTransport(retries=10), timeout=START_SECONDS) as client:
                client.get(f"{address}/healthz")
            return address
        time.sleep(0.05)
    raise AssertionError(log.read_text())


def test_requests_made_of_the_openapi_document(pristine, tmp_path):
    """S3, S11: every route keeps what its document says."""
    shop = shutil.copytree(pristine[0], tmp_path / "shop")
    fuzz(shop, tmp_path, CONFIGURATION + NOTHING_SERVES, "--max-examples", "2", "--phases", "coverage,fuzzing")


@pytest.mark.security
def test_thousands_of_requests_made_of_the_openapi_document(tmp_path):
    """S3, S11: the same with all scenarios, many more requests and sequences of them, none answered after more than a second."""
    files = shops.advertising(tmp_path, END_OF_LOG)
    shop = tmp_path / "shop"
    shop.mkdir()
    (shop / "vetrina.toml").write_text(WITHOUT_NETWORKS)
    opened = Shop(shop)
    opened.ingest(
        products=[files["products"]], events=[files["events"]], ads=[files["ads"]], table=shops.table(tmp_path)
    )
    opened.fit("search", "recommend", "predict", "ads", "launch", budget_minutes=0.1)
    opened.shop_context.engine.dispose()
    fuzz(shop, tmp_path, CONFIGURATION, "--max-examples", "60", "--max-response-time", "1.0")
