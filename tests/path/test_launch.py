"""Launch on a shop where it is known who buys a new product, from files to every channel."""

import csv
import json
import shutil
import threading
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import shops
from click.testing import CliRunner
from litestar.testing import TestClient

from vetrina import Shop
from vetrina.cli.main import cli
from vetrina.core import clock
from vetrina.core.errors import BadInput
from vetrina.reports.version_page import write_version_page
from vetrina.scenarios.launch.evaluate import reach_curve
from vetrina.serve.app import create_app
from vetrina.store import contacts

PIONEERS = {f"u{u:03d}" for u in range(80) if u % 2 == 0 and u // 2 % 4 == 0}  # even lovers of shoes


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory) -> Shop:
    folder = tmp_path_factory.mktemp("launching")
    files = shops.launching(folder)
    shop = Shop(folder / "shop")
    shop.ingest(products=[files["products"]], events=[files["events"]], users=[files["users"]])
    released = shop.fit("launch")["launch"]
    assert released is not None
    assert released.outcome == "promoted"
    shop.shop_context.engine.dispose()
    return shop


@pytest.fixture
def shop(trained_once, tmp_path) -> Shop:
    """A copy: who was told in one test is fresh in the next."""
    return Shop(shutil.copytree(trained_once.folder.root, tmp_path / "shop"))


def run(shop: Shop, *words: str) -> tuple[int, str]:
    done = CliRunner().invoke(cli, ["--shop-dir", str(shop.folder.root), *words], catch_exceptions=True)
    return done.exit_code, done.output if done.exception is None else f"{done.output}{done.exception}"


def read(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_who_tries_new_products_was_learnt_and_beats_the_category(shop):
    version = shop.shop_context.registry.get_version(shop.champion("launch"))
    reached = version.training.tuning.report["reach"]
    assert min(reached["content"], reached["reach"]) > reached["affinity"] + 0.3
    assert version.training.tuning.weights["audience"]["affinity"] == 0.0
    floor = next(r for r in version.verdict.reasons if r.code == "floor:affinity")
    assert floor.passed
    assert floor.numbers["candidate"] > floor.numbers["reference"] + 0.1


def test_a_product_nobody_has_seen_goes_to_who_will_buy_it(shop):
    with TestClient(create_app(shop.folder.root), base_url="http://127.0.0.1:8337") as client:
        token = {"authorization": f"Bearer {shop.folder.keys.api_token}"}
        body = {"title": "shoes of tomorrow", "category": "home > shoes", "brand": "Alder", "price": 9}
        assert client.put("/v1/products/tomorrow", json=body, headers=token).status_code == 200
        audience_body = {"product_id": "tomorrow", "size": 8, "channel": "email"}
        assert client.post("/v1/audience", json=audience_body).status_code == 401
        for _ in range(40):
            response = client.post("/v1/audience", json=audience_body, headers=token)
            if response.status_code == 200:
                break
            threading.Event().wait(0.1)
        users = [u["user_id"] for u in response.json()["users"]]
        assert set(users) <= PIONEERS
        assert len(users) == 8
        assert not {"u000", "u008"} & set(users)  # they said no
        assert response.json()["total"] == 78
        assert "shoes" in response.json()["users"][0]["reason"] or "new" in response.json()["users"][0]["reason"]
        assert client.post("/v1/audience", json={"product_id": "nothing"}, headers=token).status_code == 404
        assert (
            client.post("/v1/audience", json={"product_id": "tomorrow", "channel": "fax"}, headers=token).status_code
            == 400
        )


def test_whoever_was_told_lately_comes_later(shop):
    first = [p.user_id for p in shop.audience("new119", size=5, channel="email", note=True).recipients]
    again = [p.user_id for p in shop.audience("new119", size=5, channel="email").recipients]
    assert not set(first) & set(again)


def test_users_like_a_few_are_of_their_kind(shop):
    seeds = ["u002", "u010", "u018"]  # lovers of shirts
    user_ids = [p.user_id for p in shop.audience(like=seeds, size=10, channel="push").recipients]
    assert not set(seeds) & set(user_ids)
    assert all(int(u[1:]) // 2 % 4 == 1 for u in user_ids)


def test_segments_narrow_and_stand_alone(shop):
    loyal = {p.user_id for p in shop.audience(segment="loyal", size=100, channel="push").recipients}
    inside = {p.user_id for p in shop.audience("new119", segment="loyal", size=100, channel="push").recipients}
    assert inside == loyal
    assert len(loyal) >= 16
    assert all(int(u[1:]) % 2 == 1 for u in loyal)  # who buys day by day
    with pytest.raises(BadInput, match="use one of best, loyal"):
        shop.audience(segment="rich")


def test_every_channel_gets_the_form_that_its_tools_take(shop, tmp_path):
    (shop.folder.root / "vetrina.toml").write_text('[channels]\nproduct_url = "https://shop.example/p/{product_id}"\n')
    shop = Shop(shop.folder.root)
    social = tmp_path / "social.csv"
    assert (
        run(shop, "audience", "new119", "--channel", "email", "--size", "3", "--out", str(tmp_path / "mail.csv"))[0]
        == 0
    )
    rows = read(tmp_path / "mail.csv")
    assert len(rows) == 3
    assert rows[0]["product_link"] == "https://shop.example/p/new119"
    assert rows[0]["Email Address"].strip().lower() == f"{rows[0]['user_id']}@example.com"
    assert "nobody agreed to" in run(shop, "audience", "new119", "--channel", "social", "--out", str(social))[1]
    everybody = tmp_path / "users.csv"
    everybody.write_text(
        "user_id,email,consent\n" + "".join(f"u{u:03d}, U{u:03d}@Example.com ,yes\n" for u in range(80))
    )
    assert run(shop, "ingest", "--users-file", str(everybody))[0] == 0
    assert run(shop, "audience", "new119", "--channel", "social", "--size", "4", "--out", str(social))[0] == 0
    user_ids = [p.user_id for p in shop.audience("new119", channel="social", size=4).recipients]
    assert [r["Email"] for r in read(social)] == [sha256(f"{u}@example.com".encode()).hexdigest() for u in user_ids]
    feed = read(tmp_path / "social-creatives.csv")[0]
    assert feed["id"] == "new119"
    assert feed["price"] == "9.00 EUR"
    assert feed["availability"] == "in stock"
    assert (
        run(shop, "audience", "new119", "--channel", "push", "--size", "4", "--out", str(tmp_path / "push.jsonl"))[0]
        == 0
    )
    message = json.loads((tmp_path / "push.jsonl").read_text())
    assert len(message["include_aliases"]["external_id"]) == 4
    assert message["contents"]["en"] == "chair new119"
    assert message["custom_data"] == {"product_id": "new119"}
    assert message["target_channel"] == "push"


def test_the_page_shows_what_telling_more_reaches_and_costs(shop):
    version = shop.champion("launch")
    record = shop.shop_context.registry.get_version(version)
    curve = reach_curve(shop.shop_context.version_folder(record.judged), shop.splits(record).holdout())
    assert [p.audience_share for p in curve] == sorted(p.audience_share for p in curve)
    assert all(a.reach <= b.reach for a, b in pairwise(curve))
    tenth = next(
        p for p in curve if p.audience_share == 0.1
    )  # eight of eighty users; ten want each launch, seven of them buy
    assert tenth.reach > 0.5
    assert tenth.precision == pytest.approx(0.7, abs=0.25)
    assert curve[-1].precision < tenth.precision
    page = write_version_page(shop, version).read_text()
    assert "of the buyers reached" in page
    assert f"{tenth.reach:.1%}" in page


def test_a_webhook_gets_a_signed_body(shop):
    seen: list[tuple[str, bytes]] = []

    class Listener(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            seen.append((self.headers["x-vetrina-signature"], body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Listener)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{server.server_port}/hook"
        status, output = run(shop, "audience", "new119", "--channel", "webhook", "--size", "4", "--out", address)
    finally:
        server.shutdown()
        server.server_close()
    assert status == 0, output
    signature, body = seen[0]
    page = (Path(__file__).parents[2] / "docs/how-to/launch.md").read_text()
    documented: dict[str, Any] = {}
    exec(page.split("```python\n")[1].split("```")[0], documented)
    secret_file = shop.folder.root / "keys" / "webhook"
    verify = documented["is_from_the_shop"]
    assert verify(secret_file.read_text(), signature, body)
    assert not verify(shop.folder.keys.api_token, signature, body), "the token stays with the shop"
    assert not verify(secret_file.read_text(), signature, body + b" ")
    time, _, digest = signature.removeprefix("t=").partition(",")
    assert not verify(secret_file.read_text(), f"t={int(time) - 1},{digest}", body), "the time is signed"
    assert secret_file.stat().st_mode & 0o777 == 0o600
    assert len(json.loads(body)["users"]) == 4
    assert json.loads(body)["product"]["product_id"] == "new119"
    assert not contacts.recent_message_counts(shop.shop_context.engine, clock.now())
    assert (
        "does not take the audience"
        in run(shop, "audience", "new119", "--channel", "webhook", "--mark-contacted", "--out", address)[1]
    )
    assert not contacts.recent_message_counts(shop.shop_context.engine, clock.now())  # who was not reached was not told


def test_a_file_of_products_gives_one_audience_each(shop, tmp_path):
    products_file = tmp_path / "asked.csv"
    out = tmp_path / "audiences.csv"
    products_file.write_text("product_id\nnew118\nnew119\n")
    assert run(shop, "audience", "--products", str(products_file), "--size", "3", "--out", str(out))[0] == 0
    rows = read(out)
    assert [r["product_id"] for r in rows] == ["new118"] * 3 + ["new119"] * 3
    assert Path(out).read_text().startswith("product_id,rank,user_id,score")


def test_wrong_calls_are_refused_in_one_line(shop):
    for words, why in (
        (("audience",), "is for a product or similar to a list of users"),
        (("audience", "nothing"), "is no product of this shop"),
        (("audience", "new119", "--size", "0"), "is less than one"),
    ):
        status, output = run(shop, *words)
        assert status != 0
        assert why in output
