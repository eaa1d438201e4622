"""Files given to `vetrina ingest`: personal data that they hold, and images that they name."""

import http.server
import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from vetrina import Shop
from vetrina.models.image.preprocessing import decoded
from vetrina.store import images

pytestmark = pytest.mark.security

ADDRESS = "alice@example.com"
SIZE = 32


def texts_in(lake: Path) -> str:
    """All that the files of a lake say, unpacked."""
    tables = [pl.read_parquet(file).write_csv() for file in lake.rglob("*.parquet")]
    others = [file.read_text() for file in lake.rglob("*") if file.is_file() and file.suffix != ".parquet"]
    return "\n".join([*tables, *others])


def copies_in(shop: Path, content: bytes) -> list[Path]:
    """Files below a shop's folders with just this content, its keys left out."""
    files = [file for file in shop.glob("*/**/*") if file.is_file() and file.parent.name != "keys"]
    return [file for file in files if file.read_bytes() == content]


# Personal data


def test_a_refused_event_leaves_no_user_id_in_the_lake(tmp_path):
    """S57: user ids of rows that are refused are pseudonyms, like all others."""
    events = tmp_path / "events.csv"
    good = "2026-01-01T10:00:00,u1,purchase,p1"
    events.write_text(f"timestamp,user_id,type,product_id\n{good}\nnever,{ADDRESS},purchase,p1\n")
    Shop(tmp_path / "shop").ingest(events=[events])
    assert ADDRESS not in texts_in(tmp_path / "shop" / "lake")


def test_a_refused_user_leaves_no_address_in_the_lake(tmp_path):
    """S57: of users that are refused, neither id nor address is kept in clear."""
    users = tmp_path / "users.csv"
    users.write_text(f"user_id,email,consent\nu1,u1@example.com,yes\nu2,{ADDRESS},yes,one cell too many\n")
    Shop(tmp_path / "shop").ingest(users=[users])
    assert ADDRESS not in texts_in(tmp_path / "shop" / "lake")


# Images


def ingested(shop: Path, feed: Path, image: str) -> None:
    """Ingest a table of products in a folder of its own that names an image."""
    feed.mkdir(exist_ok=True)
    table = feed / "products.csv"
    table.write_text(f"product_id,title,image\np1,chair,{image}\np2,table,\n")
    Shop(shop).ingest(products=[table])


@pytest.mark.xfail(
    strict=True, raises=AssertionError, reason="S48: a table may name any file of the machine as an image"
)
@pytest.mark.parametrize("image", ["../keys/signing.key", "{shop}/keys/token"], ids=["relative", "absolute"])
def test_a_file_outside_the_folder_of_the_table_is_not_taken(own_shop, image):
    """S48: images lie below the folder of the table that names them; nothing else is copied."""
    secret = (own_shop / "keys" / Path(image).name).read_bytes()
    ingested(own_shop, own_shop / "inbox", image.format(shop=own_shop))
    assert not copies_in(own_shop, secret)


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="S48: what is no image is copied like one")
def test_a_file_that_is_no_image_is_not_taken(tmp_path):
    """S48: a file is copied only if it is an image."""
    feed = tmp_path / "inbox"
    feed.mkdir()
    notes = feed / "notes.txt"
    notes.write_text("for nobody else to read")
    ingested(tmp_path / "shop", feed, notes.name)
    assert not copies_in(tmp_path / "shop", notes.read_bytes())


class Handler(http.server.BaseHTTPRequestHandler):
    """Gives an image byte by byte, ``pause`` seconds apart."""

    requests = 0
    pause = 0.0

    def do_GET(self) -> None:
        """Called for each request."""
        type(self).requests += 1
        self.send_response(200)
        self.end_headers()
        with suppress(OSError):  # whoever fetches may go
            for _ in range(8):
                self.wfile.write(b"x")
                time.sleep(self.pause)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def image_server(handler: type[Handler]) -> Iterator[str]:
    """The address of an image on a server of this machine."""
    server = http.server.HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/chair.png"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="S49: URLs of a feed may point into the own network")
def test_an_image_on_the_own_machine_is_not_fetched(tmp_path):
    """S49: addresses of loopback and of private networks are not fetched for images."""

    class Counted(Handler):
        requests = 0

    with image_server(Counted) as url:
        images.download_images([url], tmp_path)
    assert Counted.requests == 0


@pytest.mark.xfail(
    strict=True, raises=AssertionError, reason="S49: the time allowed for an image is for each read of it"
)
def test_an_image_that_takes_longer_than_allowed_is_given_up(tmp_path):
    """S49: an image that is not there within five seconds in all is left out."""

    class Slow(Handler):
        pause = 1.0

    with image_server(Slow) as url:
        assert images.download_images([url], tmp_path) == [""]


@pytest.mark.xfail(strict=True, raises=SyntaxError, reason="S36: a damaged PNG ends the whole run")
def test_a_damaged_image_is_left_out():
    """S36: an image that cannot be decoded, however it is damaged, is none."""
    buffer = io.BytesIO()
    noise = np.random.default_rng(1).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    Image.fromarray(noise).save(buffer, "PNG")
    damaged = bytearray(buffer.getvalue())
    at = damaged.index(b"IDAT") - 4
    length = int.from_bytes(damaged[at : at + 4])
    damaged[at : at + 4] = (length // 2).to_bytes(4)  # the next chunk then seems to begin in the middle of this one
    assert decoded(bytes(damaged), SIZE) is None
