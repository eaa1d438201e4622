"""Files given to `vetrina ingest`: personal data that they hold, and images that they name."""

import http.server
import io
import ipaddress
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

import numpy as np
import polars as pl
import pytest
from PIL import Image

from vetrina import Shop
from vetrina.data import image_download, images
from vetrina.data.image_download import RefusedUrl, fetch_image, is_public
from vetrina.models.image import decode
from vetrina.models.image.decode import Pixels, decode_images

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


@pytest.mark.parametrize("image", ["../keys/signing.key", "{shop}/keys/token"], ids=["relative", "absolute"])
def test_a_file_outside_the_folder_of_the_table_is_not_taken(own_shop, image):
    """S48: images lie below the folder of the table that names them; nothing else is copied."""
    secret = (own_shop / "keys" / Path(image).name).read_bytes()
    ingested(own_shop, own_shop / "inbox", image.format(shop=own_shop))
    assert not copies_in(own_shop, secret)


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


def test_an_image_on_the_own_machine_is_not_fetched(tmp_path):
    """S49: addresses of loopback and of private networks are not fetched for images."""

    class Counted(Handler):
        requests = 0

    with image_server(Counted) as url:
        images.download_images([url], tmp_path)
    assert Counted.requests == 0


def test_an_image_that_takes_longer_than_allowed_is_given_up(tmp_path):
    """S49: an image that is not there within five seconds in all is left out."""

    class Slow(Handler):
        pause = 1.0

    with image_server(Slow) as url:
        with pytest.raises(RefusedUrl):
            fetch_image(url, ["127.0.0.1"], seconds=0.5)
        assert images.download_images([url], tmp_path, ["127.0.0.1"]) == [""]


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


def encoded(image_format: str, size: tuple[int, int] = (SIZE, SIZE)) -> bytes:
    """A grey image."""
    buffer = io.BytesIO()
    Image.new("L", size, 128).convert("RGB").save(buffer, image_format)
    return buffer.getvalue()


@pytest.mark.parametrize("link", ["file", "folder"])
def test_a_link_out_of_the_folder_of_the_table_is_not_followed(tmp_path, link):
    """S48: links are resolved before a file is taken."""
    feed = tmp_path / "inbox"
    feed.mkdir()
    outside = tmp_path / "outside"
    outside.mkdir()
    image = encoded("PNG")
    (outside / "chair.png").write_bytes(image)
    if link == "file":
        (feed / "chair.png").symlink_to(outside / "chair.png")
        reference = "chair.png"
    else:
        (feed / "images").symlink_to(outside)
        reference = "images/chair.png"
    ingested(tmp_path / "shop", feed, reference)
    assert not copies_in(tmp_path / "shop", image)


def test_an_image_below_the_folder_of_the_table_is_taken_for_its_owner_alone(tmp_path):
    """S48: what is taken is readable by the shop's user only."""
    feed = tmp_path / "inbox"
    (feed / "images").mkdir(parents=True)
    image = encoded("WEBP")
    (feed / "images" / "chair.webp").write_bytes(image)
    ingested(tmp_path / "shop", feed, "images/chair.webp")
    [copy] = copies_in(tmp_path / "shop", image)
    assert copy.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("reference", ["../outside.png", "{root}/../outside.png", "file:///etc/passwd", "pictures/.."])
def test_a_reference_of_the_log_of_products_leads_nowhere_outside_the_shop(tmp_path, reference):
    """S48: the path in `PUT /v1/products` is one below the shop's folder."""
    root = tmp_path / "shop"
    (root / "pictures").mkdir(parents=True)
    (tmp_path / "outside.png").write_bytes(encoded("PNG"))
    assert images.resolve_reference(root, reference.format(root=root)) == ""


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.9.9.9",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fec0::1",
        "fd00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
    ],
)
def test_no_address_of_the_own_network_is_public(address):
    """S49: loopback, private, link-local, shared, multicast and reserved, also as IPv6 writes them."""
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f::1", "::ffff:93.184.215.14", "64:ff9b::5db8:d70e"])
def test_addresses_of_the_internet_are_public(address):
    """S49: what shops and their suppliers use goes on working."""
    assert is_public(ipaddress.ip_address(address))


def test_the_connection_is_made_to_the_address_that_was_checked(monkeypatch):
    """S49: a name that resolves to another address the second time (DNS rebinding) gains nothing."""
    answers = iter(["93.184.215.14", "127.0.0.1"])
    connected: list[str] = []

    def getaddrinfo(host: str, port: int, **_: object) -> list:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    def create_connection(address: tuple[str, int], *_: object) -> socket.socket:
        connected.append(address[0])
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(socket, "create_connection", create_connection)
    with pytest.raises(ConnectionRefusedError):
        fetch_image("http://images.example/chair.png")
    assert connected == ["93.184.215.14"]


def test_a_host_with_one_private_address_is_refused(monkeypatch):
    """S49: all addresses of a host must be public."""

    def getaddrinfo(host: str, port: int, **_: object) -> list:
        addresses = ("93.184.215.14", "10.0.0.1")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(RefusedUrl):
        fetch_image("https://images.example/chair.png")


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/a", "file:///etc/passwd", "http:///a", "http://u:p@127.0.0.1/a"])
def test_other_schemes_and_users_are_refused(url):
    """S49: http and https, without a password."""
    with pytest.raises(RefusedUrl):
        fetch_image(url, ["127.0.0.1"])


class Redirecting(http.server.BaseHTTPRequestHandler):
    """Redirects to the path that its own path names, or gives an image."""

    requests: ClassVar[list[str]] = []
    content = b""

    def do_GET(self) -> None:
        """Called for each request."""
        self.requests.append(self.path)
        target = self.path.removeprefix("/to/")
        if target == self.path:
            self.send_response(200)
            self.send_header("Content-Length", str(len(self.content)))
            self.end_headers()
            self.wfile.write(self.content)
            return
        self.send_response(302)
        self.send_header("Location", target)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def redirecting() -> Iterator[str]:
    """A server of images that redirects, by the address of its root."""
    Redirecting.requests.clear()
    Redirecting.content = encoded("PNG")
    with image_server(Redirecting) as url:
        yield url.removesuffix("/chair.png")


@pytest.mark.parametrize(("hops", "is_followed"), [(3, True), (4, False)])
def test_three_redirects_are_followed(redirecting, hops, is_followed):
    """S49: and no more."""
    url = redirecting + "/to/" * hops + "/chair.png"
    if is_followed:
        assert fetch_image(url, ["127.0.0.1"]) == Redirecting.content
    else:
        with pytest.raises(RefusedUrl):
            fetch_image(url, ["127.0.0.1"])
        assert "/chair.png" not in Redirecting.requests


def test_a_redirect_into_the_own_network_is_refused(redirecting):
    """S49: each hop is checked like the first one."""
    port = urlsplit(redirecting).port
    with pytest.raises(RefusedUrl):
        fetch_image(f"{redirecting}/to/http://localhost:{port}/chair.png", ["127.0.0.1"])
    assert len(Redirecting.requests) == 1


def test_what_a_server_gives_is_kept_only_if_it_is_an_image(redirecting, tmp_path):
    """S49: a page of an internal service is not copied."""
    Redirecting.content = b"<html>secret</html>"
    assert images.download_images([f"{redirecting}/a"], tmp_path, ["127.0.0.1"]) == [""]
    Redirecting.content = encoded("GIF")
    [file] = images.download_images([f"{redirecting}/b"], tmp_path, ["127.0.0.1"])
    assert Path(file).read_bytes() == Redirecting.content
    assert Path(file).stat().st_mode & 0o777 == 0o600
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_larger_than_allowed_is_refused(redirecting, monkeypatch):
    """S49: an image has at most 20 MB."""
    monkeypatch.setattr(image_download, "MAX_IMAGE_BYTES", 10)
    with pytest.raises(RefusedUrl):
        fetch_image(f"{redirecting}/chair.png", ["127.0.0.1"])


def decoded(content: bytes, size: int) -> Pixels | None:
    """Pixels of one image."""
    [pixels] = decode_images([content], size)
    return pixels


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "GIF"])
def test_images_of_shops_are_decoded(image_format):
    """S50: the four formats of the web."""
    pixels = decoded(encoded(image_format), 4)
    assert pixels is not None
    assert np.abs(pixels.astype(int) - 128).max() <= 2


@pytest.mark.parametrize("image_format", ["BMP", "EPS", "TIFF", "PPM", "JPEG2000"])
def test_other_formats_are_not_decoded(image_format):
    """S50: parsers of formats that no shop shows are never given anything."""
    assert decoded(encoded(image_format), 4) is None


def test_an_image_of_too_many_pixels_is_not_decoded():
    """S50: a small file may hold a large image."""
    assert decoded(encoded("PNG", (4_001, 4_000)), 4) is None


def test_an_image_that_ends_the_decoder_costs_one_image(monkeypatch):
    """S50: the process that decodes is started again, and the other images are decoded."""
    child = (sys.executable, "-P", "-c", DECODER_THAT_DIES)
    monkeypatch.setattr(decode, "_CHILD", child)
    good = encoded("PNG")
    pixels = list(decode_images([good, b"die", good, None], 4))
    assert [image is None for image in pixels] == [False, True, False, True]


DECODER_THAT_DIES = """
import os, signal
from vetrina.models.image import decoder_process as process
decode = process._decode

def die_of(content, size):
    if content == b"die":
        os.kill(os.getpid(), signal.SIGKILL)
    return decode(content, size)

process._decode = die_of
process.main()
"""


def test_a_decoder_that_reads_no_more_costs_one_image(monkeypatch):
    """S50: a request that is still in the buffer when the process has gone does not end the run."""
    child = (sys.executable, "-c", DECODER_THAT_READS_ONCE)
    monkeypatch.setattr(decode, "_CHILD", child)
    assert list(decode_images([b"one", b"two", b"three"], 4)) == [None, None, None]


DECODER_THAT_READS_ONCE = r"""
import os, time
os.read(0, 1_000)
os.close(0)
os.write(1, b"\0")
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="macOS does not limit the memory of a process")
def test_the_decoder_opens_no_files_and_takes_no_memory_beyond_its_limit():
    """S50: what an image makes the decoder do is limited by the kernel."""
    child = (sys.executable, "-P", "-c", DECODER_THAT_TRIES)
    answer = subprocess.run(child, capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["OSError", "MemoryError"]


DECODER_THAT_TRIES = """
from vetrina.models.image import decoder_process as process
process._load_formats()
process._limit_resources()
for attempt in (lambda: open("/etc/passwd"), lambda: bytearray(2 << 30)):
    try:
        attempt()
    except (OSError, MemoryError) as error:
        print(type(error).__name__)
"""
