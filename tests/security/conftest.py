"""Shared fixtures of the security tests: a served shop, and shops that a test may break.

Each test states the right behaviour and carries the number of a finding of the security review (S1 to S61) in its docstring.
A finding that is still open is marked ``xfail(strict=True)``: the test fails today because of that finding, and ``raises`` says
with which error, so that a wrong import or a typing error does not count as the expected failure. Whoever corrects a finding
sees its tests pass, which a strict mark reports as an error, and removes the marks.

``pytest tests/security --runxfail`` shows how each of them fails. Tests that start processes or wait are ``heavy`` as well.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import shops
from litestar.testing import TestClient
from sqlalchemy import Engine

from vetrina import Shop
from vetrina.core.keys import Keys, load_or_create
from vetrina.serve.app import create_app
from vetrina.serve.service import Service
from vetrina.store.database import open_store
from vetrina.store.shop_folder import ShopFolder

ADDRESS = "http://127.0.0.1:8337"
# What the tests ask about depends neither on networks nor on how fast this machine is.
SETTINGS = """
[train]
exclude_models = ["fusion", "sasrec", "gru", "lstm", "dcn", "mlp"]
[gate]
latency_ms = 1e6
"""


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small shop that serves recommend and predict; only ever copied."""
    folder = tmp_path_factory.mktemp("released")
    files = shops.checkerboard(folder)
    (folder / "shop").mkdir()
    (folder / "shop" / "vetrina.toml").write_text(SETTINGS)
    shop = Shop(folder / "shop")
    shop.ingest(products=[files["products"]], events=[files["events"]], table=shops.table(folder))
    shop.fit("recommend", "predict")
    shop.shop_context.engine.dispose()
    return folder / "shop"


@pytest.fixture(scope="session")
def client(released: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient[Any]]:
    """The shop, served within this process; tests share it and must leave it usable."""
    folder = shutil.copytree(released, tmp_path_factory.mktemp("served") / "shop")
    with TestClient(create_app(folder), base_url=ADDRESS) as served:
        yield served


@pytest.fixture
def own_shop(released: Path, tmp_path: Path) -> Path:
    """A copy that the test may break."""
    return shutil.copytree(released, tmp_path / "shop")


@pytest.fixture
def own_client(own_shop: Path) -> Iterator[TestClient[Any]]:
    """The copy that the test may break, served within this process."""
    with TestClient(create_app(own_shop), base_url=ADDRESS) as served:
        yield served


@pytest.fixture
def own_service(own_shop: Path) -> Iterator[Service]:
    """What a server of that copy consists of; it follows the store only when a test says so."""
    service = Service(ShopFolder(own_shop))
    yield service
    service.event_log.close()
    service.engine.dispose()


@pytest.fixture
def token(released: Path) -> dict[str, str]:
    """The header with the token of the shop and of its copies."""
    return {"authorization": f"Bearer {ShopFolder(released).keys.api_token}"}


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    """Keys of an empty shop."""
    return load_or_create(tmp_path / "an empty shop" / "keys")


@pytest.fixture
def engine(tmp_path: Path, keys: Keys) -> Iterator[Engine]:
    """An empty store on SQLite."""
    opened = open_store(f"sqlite:///{tmp_path / 'store.db'}", keys)
    yield opened
    opened.dispose()
