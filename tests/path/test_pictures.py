"""Pictures from files, bytes and data URIs to products that look alike, on drawings whose kinds are known."""

import base64
import io
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import shops
from PIL import Image, ImageDraw

from vetrina import Shop
from vetrina.console.report import write_report
from vetrina.core.errors import BadInput
from vetrina.core.plugins import part
from vetrina.core.progress import Silent
from vetrina.core.types import Catalogue, Past, Plan
from vetrina.models.image.pictures import augmented, decoded, normalised
from vetrina.store import pictures

SHAPES = ("circle", "square", "stripes")


def drawing(kind: str, number: int) -> bytes:
    """One shape somewhere, in some colour."""
    rng = np.random.default_rng([SHAPES.index(kind), number])
    picture = Image.new("RGB", (120, 90), tuple(int(v) for v in rng.integers(180, 255, 3)))
    pen, colour = ImageDraw.Draw(picture), tuple(int(v) for v in rng.integers(0, 120, 3))
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
    rows, events = [], []
    for n in range(60):
        kind, content = SHAPES[n // 20], drawing(SHAPES[n // 20], n)
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
        found = [int(i.product_id[1:]) // 20 for i in shop.similar(f"p{n:02d}", placement="looks_like", limit=8).items]
        assert found.count(n // 20) >= 7


def test_a_picture_filed_wrongly_is_found(shop):
    version = shop.workshop.registry.show(shop.champion("recommend"))
    notes = version["notes"]["models"]["image"]
    assert notes["pictures"] == 59
    assert {"product_id": "p19", "filed": "square", "looks_like": "circle"}.items() <= notes["misfiled"][0].items()
    assert len(notes["misfiled"]) <= 2
    assert notes["form"] == "int8"
    assert min(notes["alike"], notes["parity_cosine"]) >= 0.9
    page = write_report(shop, version["version"]).read_text()
    assert "Perhaps filed wrongly" in page
    assert "<td>p19</td><td>square</td><td>circle</td>" in page


def test_a_shop_without_pictures_says_so(trained):
    with pytest.raises(BadInput, match="needs pictures of products"):
        Shop(trained[0]).similar("p001", placement="looks_like")


def test_bytes_in_a_table_are_pictures_too(tmp_path):
    frame = {"product_id": ["a", "b"], "title": ["a", "b"], "image": [drawing("circle", 1), None]}
    pl.DataFrame(frame).write_parquet(tmp_path / "products.parquet")
    snapshot = Shop(tmp_path / "shop").ingest(products=[tmp_path / "products.parquet"])
    from vetrina.store import dataset

    catalogue = dataset.catalogue(snapshot)
    assert catalogue is not None
    assert Path(catalogue.images[0]).read_bytes() == drawing("circle", 1)
    assert catalogue.images[1] == ""


def test_urls_are_fetched_once_and_given_up_when_nobody_answers(tmp_path):
    asked: list[str] = []

    class Pictures(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200 if self.path == "/a" else 404)
            self.end_headers()
            self.wfile.write(drawing("circle", 1))

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Pictures)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_port}"
    try:
        for _ in range(2):
            found = pictures.files([f"{base}/a", "there.png", *(f"{base}/{n}" for n in range(9))], tmp_path)
    finally:
        server.shutdown()
        server.server_close()
    assert Path(found[0]).read_bytes() == drawing("circle", 1)
    assert found[1] == "there.png"
    assert found[2:] == [""] * 9
    assert asked.count("/a") == 1
    assert len(asked) == 1 + 5 + 5  # five failures in a row are enough


def test_what_is_no_picture_is_none():
    assert decoded(b"no picture", 32) is None
    assert decoded(drawing("circle", 1)[:80], 32) is None
    assert decoded(None, 32) is None
    clear = io.BytesIO()
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(clear, "PNG")
    assert (decoded(clear.getvalue(), 4) == 255).all()  # what is not there is white


def test_augmentation_keeps_the_shape_and_changes_the_picture():
    pixels = np.stack([decoded(drawing(kind, 1), 32) for kind in SHAPES])
    changed = augmented(pixels, np.random.default_rng(1))
    assert changed.shape == normalised(pixels).shape == (3, 3, 32, 32)
    assert float((changed - normalised(pixels)).abs().mean()) > 0.05
    again = augmented(pixels, np.random.default_rng(1))
    assert bool((changed == again).all())


def test_learning_on_tells_shapes_that_the_weights_do_not(tmp_path, monkeypatch):
    """A network from nothing learns the three shapes."""
    monkeypatch.setattr("vetrina.models.image.network.weights_file", lambda: None)
    files, kinds = [], []
    for n in range(90):
        (tmp_path / f"{n}").write_bytes(drawing(SHAPES[n % 3], n))
        files.append(str(tmp_path / f"{n}"))
        kinds.append(SHAPES[n % 3])
    text, number = ("",) * 90, np.full(90, np.nan)
    ids = np.array([f"p{n:02d}" for n in range(90)])
    catalogue = Catalogue(ids, text, text, tuple(kinds), text, text, number, number, number, images=tuple(files))
    into = tmp_path / "w" / "fit" / "image"
    into.mkdir(parents=True)
    plan = Plan(settings={"image": {"epochs": 30.0, "size": 48.0}})
    part("models", "image", "train").fit(Past(catalogue), plan, into, Silent())
    from vetrina.core.onnx_session import session

    fresh = np.stack([decoded(drawing(SHAPES[n % 3], n), 48) for n in range(1_000, 1_060)])
    said = session(into / "network.onnx").run(None, {"picture": normalised(fresh).numpy()})[1]
    names = sorted(SHAPES)
    right = [names[int(best)] == SHAPES[n % 3] for n, best in enumerate(said.argmax(1).tolist(), start=1_000)]
    assert np.mean(right) > 0.8
