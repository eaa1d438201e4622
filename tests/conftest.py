"""What several tests share: one small shop, trained once."""

import os
import shutil
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import servers
import shops

STORES = ("sqlite", "postgresql", "mariadb")


@pytest.fixture(scope="session", autouse=True)
def encoder_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """MiniLM is exported once for all shops of the run."""
    os.environ["VETRINA_CACHE"] = str(tmp_path_factory.getbasetemp().parent / "encoder")


@pytest.fixture(scope="session")
def trained(pristine, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Path]]:
    """The pristine shop in a copy that tests may serve and log to."""
    folder, files = pristine
    return shutil.copytree(folder, tmp_path_factory.mktemp("served") / "shop"), files


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Path]]:
    """A shop with products, purchases and judged queries, all of it released; only ever read or copied."""
    from vetrina import Shop

    folder = tmp_path_factory.mktemp("trained")
    files = {**shops.checkerboard(folder), "judgments": shops.judged(folder)}
    shop = Shop(folder / "shop")
    shop.ingest(products=[files["products"]], events=[files["events"]], judgments=[files["judgments"]])
    shop.fit("recommend", "search")
    shop.shop_context.engine.dispose()
    return folder / "shop", files


@pytest.fixture(scope="session")
def predicting(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A shop with a table alone, released, and the table's file."""
    from vetrina import Shop

    folder = tmp_path_factory.mktemp("predicting")
    table = shops.table(folder)
    shop = Shop(folder / "shop")
    shop.ingest(table=table)
    shop.fit("predict")
    shop.shop_context.engine.dispose()
    return folder / "shop", table


@pytest.fixture(scope="session", params=STORES)
def server(request, tmp_path_factory) -> Iterator[str]:
    """One server of each kind for the whole run; empty for SQLite, which needs none."""
    if request.param == "sqlite":
        yield ""
    else:
        with getattr(servers, request.param)(tmp_path_factory.mktemp(request.param)) as url:
            yield url


@pytest.fixture
def url(server, tmp_path) -> str:
    """A database of its own for each test."""
    return servers.fresh_database(server, f"t{uuid.uuid4().hex}") if server else f"sqlite:///{tmp_path / 'store.db'}"
