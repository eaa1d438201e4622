"""Pictures from files, bytes and data URIs to products that look alike, on drawings whose kinds are known."""

import base64
import io
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import onnx
import polars as pl
import pytest
import shops
from litestar.testing import TestClient
from PIL import Image, ImageDraw

from vetrina import Shop
from vetrina.bundle.manifest import TrainingRecord
from vetrina.core import clock
from vetrina.core.errors import BadInput
from vetrina.core.image_vector import ImageVector
from vetrina.core.progress import NoProgress
from vetrina.core.training_data import Catalogue, TrainingData
from vetrina.core.training_plan import TrainingPlan
from vetrina.data import dataset, images
from vetrina.models.base import find_model
from vetrina.models.image.decode import decode_images
from vetrina.models.image.embed import Embedder
from vetrina.models.image.preprocessing import augment, normalise
from vetrina.operate.controller import Controller
from vetrina.operate.embed_images import ImageEmbedding
from vetrina.reports.version_page import write_version_page
from vetrina.serve.app import create_app
from vetrina.serve.live_state import StoredChanges
from vetrina.store import products

pytestmark = pytest.mark.feeds

SHAPES = ("circle", "square", "stripes")


def drawing(kind: str, number: int) -> bytes:
    """One shape somewhere, in some colour."""
    rng = np.random.default_rng([SHAPES.index(kind), number])
    picture = Image.new("RGB", (120, 90), tuple(int(v) for v in rng.integers(180, 255, 3)))
    pen = ImageDraw.Draw(picture)
    colour = tuple(int(v) for v in rng.integers(0, 120, 3))
    x, y, size = (int(v) for v in (rng.integers(5, 40), rng.integers(5, 25), rng.integers(40, 60)))
    if kind == "circle":
        pen.ellipse((x, y, x + size, y + size), fill=colour)
    elif kind == "square":
        pen.rectangle((x, y, x + size, y + size), fill=colour)
    else:
        for line in range(0, 120, 12):
            pen.line((line, 0, line, 90), fill=colour, width=5)
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Shop:
    """Sixty products, twenty of each shape; the last circle is filed as a square. Some pictures are files, some bytes in text."""
    folder = tmp_path_factory.mktemp("pictures")
    rows = []
    events = []
    for n in range(60):
        kind = SHAPES[n // 20]
        content = drawing(SHAPES[n // 20], n)
        if n % 2:
            (folder / f"{n}.png").write_bytes(content)
            reference = f"{n}.png"
        else:
            reference = "data:image/png;base64," + base64.b64encode(content).decode()
        filed = "square" if n == 19 else kind
        rows.append((f"p{n:02d}", f"thing {n}", filed, reference if n != 59 else "missing.png"))
        events += [
            (shops.START + n * 3600 + 86_400 * d, f"u{(n + d) % 30:02d}", "purchase", f"p{n:02d}") for d in range(20)
        ]
    pl.DataFrame(rows, schema=["product_id", "title", "category", "image"], orient="row").write_csv(
        folder / "products.csv"
    )
    schema = ["timestamp", "user_id", "type", "product_id"]
    pl.DataFrame(events, schema=schema, orient="row").write_csv(folder / "events.csv")
    shop = Shop(folder / "shop")
    shop.ingest(products=[folder / "products.csv"], events=[folder / "events.csv"])
    shop.fit("recommend", budget_minutes=1)
    return shop


def test_products_that_look_alike_are_of_one_shape(shop):
    for n in (3, 25, 47):
        shapes = [int(i.product_id[1:]) // 20 for i in shop.similar(f"p{n:02d}", placement="looks_like", limit=8).items]
        assert shapes.count(n // 20) >= 7


def test_a_picture_filed_wrongly_is_found(shop):
    version = shop.shop_context.registry.get_version(shop.champion("recommend"))
    notes = version.training.models["image"]
    assert notes["pictures"] == 59
    assert {"product_id": "p19", "filed": "square", "looks_like": "circle"}.items() <= notes["misfiled"][0].items()
    assert len(notes["misfiled"]) <= 2
    assert notes["form"] == "int8"
    assert min(notes["alike"], notes["parity_cosine"]) >= 0.9
    page = write_version_page(shop, version.name).read_text()
    assert "Probably miscategorised" in page
    assert "<td>p19</td><td>square</td><td>circle</td>" in page


def test_a_shop_without_pictures_says_so(trained):
    with pytest.raises(BadInput, match="needs images of products"):
        Shop(trained[0]).similar("p001", placement="looks_like")


def test_bytes_in_a_table_are_pictures_too(tmp_path):
    frame = {"product_id": ["a", "b"], "title": ["a", "b"], "image": [drawing("circle", 1), None]}
    pl.DataFrame(frame).write_parquet(tmp_path / "products.parquet")
    snapshot = Shop(tmp_path / "shop").ingest(products=[tmp_path / "products.parquet"])
    catalogue = dataset.catalogue(snapshot)
    assert catalogue is not None
    assert Path(catalogue.images[0]).read_bytes() == drawing("circle", 1)
    assert catalogue.images[1] == ""


def test_urls_are_fetched_once_and_given_up_when_nobody_answers(tmp_path):
    requested_paths: list[str] = []

    class Pictures(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requested_paths.append(self.path)
            self.send_response(200 if self.path == "/a" else 404)
            self.end_headers()
            self.wfile.write(drawing("circle", 1))

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Pictures)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_port}"
    missing = [f"{base}/{n}" for n in range(40)]
    try:
        for _ in range(2):
            downloaded = images.download_images([f"{base}/a", "there.png", *missing], tmp_path, ["127.0.0.1"])
    finally:
        server.shutdown()
        server.server_close()
    assert Path(downloaded[0]).read_bytes() == drawing("circle", 1)
    assert downloaded[1] == "there.png"
    assert downloaded[2:] == [""] * 40
    assert requested_paths.count("/a") == 1
    assert len(requested_paths) <= 30  # five failures in a row are enough, though some more are under way by then


def test_what_is_no_picture_is_none():
    assert list(decode_images([b"no picture", drawing("circle", 1)[:80], None], 32)) == [None, None, None]
    clear = io.BytesIO()
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(clear, "PNG")
    [white] = decode_images([clear.getvalue()], 4)
    assert (white == 255).all()  # what is not there is white


def test_augmentation_keeps_the_shape_and_changes_the_picture():
    pixels = np.stack(list(decode_images([drawing(kind, 1) for kind in SHAPES], 32)))
    changed = augment(pixels, np.random.default_rng(1))
    assert changed.shape == normalise(pixels).shape == (3, 3, 32, 32)
    assert float((changed - normalise(pixels)).abs().mean()) > 0.05
    again = augment(pixels, np.random.default_rng(1))
    assert bool((changed == again).all())


def test_learning_on_tells_shapes_that_the_weights_do_not(tmp_path, monkeypatch):
    """A network from nothing learns the three shapes."""
    monkeypatch.setattr("vetrina.models.image.network.pretrained_weights_path", lambda: None)
    files = []
    kinds = []
    for n in range(90):
        (tmp_path / f"{n}").write_bytes(drawing(SHAPES[n % 3], n))
        files.append(str(tmp_path / f"{n}"))
        kinds.append(SHAPES[n % 3])
    text = ("",) * 90
    number = np.full(90, np.nan)
    ids = np.array([f"p{n:02d}" for n in range(90)])
    catalogue = Catalogue(ids, text, text, tuple(kinds), text, text, number, number, number, images=tuple(files))
    into = tmp_path / "image"
    into.mkdir()
    plan = TrainingPlan(settings={"image": {"epochs": 30.0, "size": 48.0}})
    find_model("image").fit(TrainingData(catalogue, cache=tmp_path / "cache"), plan, into, NoProgress())
    from vetrina.bundle.onnx_session import open_session

    fresh = np.stack(list(decode_images([drawing(SHAPES[n % 3], n) for n in range(1_000, 1_060)], 48)))
    probabilities = open_session(into / "network.onnx").run(None, {"picture": normalise(fresh).numpy()})[1]
    names = sorted(SHAPES)
    right = [names[int(best)] == SHAPES[n % 3] for n, best in enumerate(probabilities.argmax(1).tolist(), start=1_000)]
    assert np.mean(right) > 0.8


def test_embedding_gives_the_vectors_that_training_wrote(shop):
    version = shop.shop_context.registry.get_version(shop.champion("recommend"))
    catalogue = dataset.catalogue(dataset.open_snapshot(shop.folder.snapshots, version.snapshot))
    assert catalogue is not None
    folder = shop.shop_context.version_folder(version.name) / "image"
    trained = np.load(folder / "vectors.npy").astype(np.float32)
    embedder = Embedder(folder / "network.onnx")
    rows = [row for row, file in enumerate(catalogue.images) if file]
    contents = [Path(catalogue.images[row]).read_bytes() for row in rows]
    vectors = embedder.vectors(list(decode_images(contents, embedder.size)))
    assert version.training.models["image"]["form"] == "int8"
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=1e-5)
    assert (vectors * trained[rows]).sum(1).mean() >= 0.9


@pytest.fixture
def live(shop, tmp_path) -> Iterator[Shop]:
    """A copy of the shop that products may be put into; images lie in its folder."""
    copied = Shop(shutil.copytree(shop.folder.root, tmp_path / "shop"))
    yield copied
    copied.shop_context.engine.dispose()


def put(shop: Shop, product_id: str, image: bytes | None, category: str = "circle") -> None:
    """As the HTTP route does, with an image in the shop's folder, or one that is not there."""
    if image is not None:
        (shop.folder.root / f"{product_id}.png").write_bytes(image)
    row = {"product_id": product_id, "title": f"new {product_id}", "category": category, "image": f"{product_id}.png"}
    products.append_products(shop.shop_context.engine, [row])


def embedded(shop: Shop) -> dict[str, ImageVector]:
    """What the log says about images."""
    changes = StoredChanges(shop.shop_context.engine)
    changes.refresh()
    return dict(changes.changes_after(0).images)


def entries(shop: Shop) -> int:
    """How many the log has."""
    return len(products.changes_after(shop.shop_context.engine, 0))


def until(so: Callable[[], bool]) -> None:
    """Wait for another thread."""
    deadline = time.monotonic() + 60
    while not so():
        assert time.monotonic() < deadline, "not within the time"
        time.sleep(0.05)


def test_the_page_of_a_product_put_over_http_shows_its_category_and_once_embedded_what_looks_like_it(live):
    token = {"authorization": f"Bearer {live.folder.keys.api_token}"}
    (live.folder.root / "new.png").write_bytes(drawing("stripes", 1_000))
    (live.folder.root / "odd.png").write_bytes(drawing("circle", 1_000))
    with TestClient(create_app(live.folder.root), base_url="http://127.0.0.1:8337") as client:

        def page(product: str, placement: str) -> list[str]:
            body = {"product_ids": [product], "placement": placement, "limit": 8}
            answer = client.post("/v1/recommend", json=body)
            assert answer.status_code == 200, answer.text
            return [item["product_id"] for item in answer.json()["items"]]

        new = {"title": "stripes filed as a circle", "category": "circle", "image": "new.png"}
        odd = {"title": "circle filed as a square", "category": "square", "image": "odd.png"}
        for product, body in (("new", new), ("odd", odd)):
            assert client.put(f"/v1/products/{product}", json=body, headers=token).status_code == 200
            until(lambda product=product: client.get(f"/v1/products/{product}").status_code == 200)
        circles = {f"p{n:02d}" for n in range(19)}
        assert set(page("new", "looks_like")) <= circles, "filed as a circle"
        assert set(page("new", "product")) <= circles

        operator = Controller(Shop(live.folder.root).shop_context, lambda line: None)
        operator._started_at["monitoring"] = time.monotonic()  # nothing else is due
        operator.tick()
        until(lambda: set(embedded(live)) == {"new", "odd"})
        operator.close()
        operator._shop_context.engine.dispose()

        stripes = {f"p{n:02d}" for n in range(40, 60)}
        until(lambda: len(stripes & set(page("new", "looks_like"))) >= 7)
        assert set(page("new", "product")) <= circles, "a product page keeps to the category"
        until(lambda: page("odd", "product")[0] == "p19")  # the one circle among what is filed as a square
        assert client.get("/v1/products/new").json() == {"product_id": "new", **new}
        forged = {**new, "image_vector": "AAAA", "image_network": "x"}
        assert client.put("/v1/products/new", json=forged, headers=token).status_code == 400
    assert live.product("new") == {"product_id": "new", **new}


def test_an_image_that_cannot_be_read_stops_no_other_and_is_read_once(live):
    put(live, "whole", drawing("circle", 1_001))
    put(live, "text", b"no image")
    damaged = bytearray(drawing("circle", 1_002))
    length = damaged.find(b"IDAT") - 4
    damaged[length : length + 4] = bytes(4)  # Pillow raises SyntaxError
    put(live, "damaged", bytes(damaged))
    embedding = ImageEmbedding(live.shop_context)
    assert embedding.batch() == 3
    vectors = embedded(live)
    assert {product for product, image in vectors.items() if len(image.vector)} == {"whole"}
    assert embedding.batch() == 0
    assert ImageEmbedding(live.shop_context).batch() == 0, "nor by another controller"
    assert live.similar("text", placement="looks_like").items, "by category"


def test_an_image_that_comes_after_its_product_is_looked_for_again_and_not_for_ever(live, monkeypatch):
    put(live, "late", None)
    put(live, "never", None)
    embedding = ImageEmbedding(live.shop_context)
    now = clock.now()
    monkeypatch.setattr(clock, "now", lambda: now)
    assert embedding.batch() == 0
    (live.folder.root / "late.png").write_bytes(drawing("circle", 1_003))
    assert embedding.batch() == 0, "not at once"
    now += 3_600
    assert embedding.batch() == 1
    now += 3_600
    assert embedding.batch() == 1, "given up"
    assert {product: bool(image.text) for product, image in embedded(live).items()} == {"late": True, "never": False}
    now += 3_600
    assert embedding.batch() == 0


@pytest.fixture
def allowing(shop, tmp_path) -> Iterator[Shop]:
    """A copy of the shop that may download images from this machine."""
    folder = shutil.copytree(shop.folder.root, tmp_path / "shop")
    (folder / "vetrina.toml").write_text('[ingest]\nimage_hosts = ["127.0.0.1"]\n')
    copied = Shop(folder)
    yield copied
    copied.shop_context.engine.dispose()


def test_a_slow_server_of_images_holds_up_no_turn(allowing):
    may_answer = threading.Event()

    class Slow(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            may_answer.wait(60)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(drawing("circle", 1_008))

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    row = {"product_id": "new", "title": "new", "image": f"http://127.0.0.1:{server.server_port}/new.png"}
    products.append_products(allowing.shop_context.engine, [row])
    embedding = ImageEmbedding(allowing.shop_context)
    for _ in range(3):
        embedding.turn()
    may_answer.set()
    until(lambda: "new" in embedded(allowing))
    embedding.close()
    server.shutdown()
    server.server_close()
    assert len(embedded(allowing)["new"].vector)


def test_only_products_that_training_did_not_see_are_embedded_and_once(live):
    for product in ("p03", "p59"):  # p59 came without a picture that could be read
        put(live, product, drawing("circle", 1_004))
    assert ImageEmbedding(live.shop_context).batch() == 1
    assert set(embedded(live)) == {"p59"}
    shapes = [int(i.product_id[1:]) // 20 for i in live.similar("p59", placement="looks_like", limit=8).items]
    assert shapes.count(0) >= 7
    put(live, "p59", drawing("stripes", 1_005))
    assert set(embedded(live)) == set(), "what was said anew has no vector yet"


def test_another_network_embeds_anew(live):
    put(live, "new", drawing("stripes", 1_006))
    embedding = ImageEmbedding(live.shop_context)
    assert embedding.batch() == 1
    first = live.champion("recommend")
    folder = live.folder.root / "copied"
    shutil.copytree(
        live.shop_context.version_folder(first), folder, ignore=shutil.ignore_patterns("manifest.json", "signature")
    )
    network = onnx.load(folder / "image" / "network.onnx")
    network.doc_string = "another"
    (folder / "image" / "network.onnx").unlink()  # a hard link to a part
    onnx.save(network, folder / "image" / "network.onnx")
    second = live.folder.bundles.pack(folder, "recommend", TrainingRecord()).version
    live.shop_context.registry.set_champion("recommend", second, "a test")
    other = Shop(live.folder.root)
    product_ids = {i.product_id for i in other.similar("new", placement="looks_like", limit=8).items}
    assert product_ids <= {f"p{n:02d}" for n in range(19)}, "vectors of another network are not compared: its category"
    before = embedded(live)["new"]
    assert embedding.batch() == 1
    assert embedded(live)["new"].network != before.network
    assert embedding.batch() == 0
    product_ids = {i.product_id for i in other.similar("new", placement="looks_like", limit=8).items}
    assert len(product_ids & {f"p{n:02d}" for n in range(40, 60)}) >= 7
    other.shop_context.engine.dispose()


def test_vectors_stay_out_of_the_lake_and_state_nothing_anew(live, tmp_path):
    put(live, "new", drawing("stripes", 1_007))
    live.ingest()
    later = tmp_path / "later.csv"
    later.write_text("product_id,title\nnew,Later title\n")
    snapshot = live.ingest(products=[later])
    assert ImageEmbedding(live.shop_context).batch() == 1
    put(live, "newer", None)
    again = live.ingest()
    frame = pl.read_parquet(again.folder / "products.parquet")
    assert not {"image_vector", "image_network"} & set(frame.columns)
    titles = dict(frame.select("product_id", "title").iter_rows())
    assert titles["new"] == "Later title", "an entry with a vector repeats what the shop said earlier"
    assert titles["newer"] == "new newer"
    assert again.rows["products"] == snapshot.rows["products"] + 1
    changes = StoredChanges(live.shop_context.engine)
    changes.refresh()
    assert set(changes.changes_after(snapshot.logged["products"]).changed_products) == {"newer"}, (
        "a bundle of that snapshot knows the other"
    )
