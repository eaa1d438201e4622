"""What several tests share: small shops that are trained once a run, and the suites of heavy tests."""

import fcntl
import os
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

# Tests run beside each other, one process a core: more threads would only wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))

import servers
import shops

STORES = ("sqlite", "postgresql", "mariadb")
HEAVY_SUITES = (
    "security",
    "simulation",
    "feeds",
    "deploy",
    "browser",
    "kills",
    "availability",
    "images",
    "ansible",
    "ray",
)

settings.register_profile("busy machine", deadline=None)
settings.load_profile("busy machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test of a heavy suite is heavy: `make test` leaves it out, `make test-heavy SUITE=...` runs it."""
    for item in items:
        if any(item.get_closest_marker(suite) for suite in HEAVY_SUITES):
            item.add_marker(pytest.mark.heavy)


@pytest.fixture(scope="session")
def built_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], None]], Path]:
    """A folder of the whole run by its name: the first worker that asks builds it, the others wait for it."""
    run_folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        run_folder = run_folder.parent

    def build(name: str, fill: Callable[[Path], None]) -> Path:
        folder = run_folder / f"shared-{name}"
        with (run_folder / f"shared-{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder / ".built").exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                fill(folder)
                (folder / ".built").touch()
        return folder

    return build


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
def pristine(built_once) -> tuple[Path, dict[str, Path]]:
    """A shop with products, purchases and judged queries, all of it released; only ever read or copied."""

    def fill(folder: Path) -> None:
        from benchmarks.no_worse import write_keys

        from vetrina import Shop

        files = {**shops.checkerboard(folder), "judgments": shops.judged(folder)}
        # The key orders users: another one may give other blends, and a recipe that loses against its baseline.
        (folder / "shop").mkdir()
        write_keys(folder / "shop" / "keys", "pristine")
        shop = Shop(folder / "shop")
        shop.ingest(products=[files["products"]], events=[files["events"]], judgments=[files["judgments"]])
        shop.fit("recommend", "search")
        shop.shop_context.engine.dispose()

    folder = built_once("pristine", fill)
    files = {"products": "products.csv", "events": "events.csv", "judgments": "judgments.jsonl"}
    return folder / "shop", {table: folder / name for table, name in files.items()}


@pytest.fixture(scope="session")
def predicting(built_once) -> tuple[Path, Path]:
    """A shop with a table alone, released, and the table's file."""

    def fill(folder: Path) -> None:
        from vetrina import Shop

        shop = Shop(folder / "shop")
        shop.ingest(table=shops.table(folder))
        shop.fit("predict", budget_minutes=0.1)  # the validation rows alone decide
        shop.shop_context.engine.dispose()

    folder = built_once("predicting", fill)
    return folder / "shop", folder / "table.csv"


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


@pytest.fixture
def fresh_url(server, tmp_path) -> str:
    """Another one of the same kind."""
    return servers.fresh_database(server, f"t{uuid.uuid4().hex}") if server else f"sqlite:///{tmp_path / 'fresh.db'}"
