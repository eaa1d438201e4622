"""Serving: versions that do not open at once, catalogues that change a lot, words that are made up."""

import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from instruction_count import instructions

from vetrina.bundle.term_vectors.read import MATCH_FEATURES, TermVectors
from vetrina.bundle.term_vectors.write import write_term_vectors
from vetrina.core.delta_index import DeltaIndex
from vetrina.core.filters import NO_FILTERS
from vetrina.operate.retention import clean_up
from vetrina.pipeline.shop_context import ShopContext
from vetrina.scenarios.base import find_scenario
from vetrina.serve.live_state import StoredChanges
from vetrina.store import products
from vetrina.store.shop_folder import ShopFolder

pytestmark = pytest.mark.security

HOUR = 3_600.0
FEW = 100
MANY = 2_000  # products that changed since the bundle was built
COFFEE = "tfw3bh25"  # has the CRC-32 of the stem of coffee


def a_product(number: int) -> dict[str, Any]:
    """A product that the search for a lamp does not find."""
    return {"product_id": f"p{number}", "title": f"Blue wooden chair number {number}", "stock": 3}


# Versions that do not open at once


@pytest.fixture
def opening(monkeypatch) -> SimpleNamespace:
    """Opening a version of recommend raises ``opening.error`` as long as there is one."""
    opening = SimpleNamespace(error=None)
    scenario = find_scenario("recommend")
    load = scenario.load

    def open_version(folder):
        if opening.error is not None:
            raise opening.error
        return load(folder)

    monkeypatch.setattr(scenario, "load", open_version)
    return opening


def test_a_version_is_opened_once_the_trouble_is_over(own_service, opening, monkeypatch):
    """S21: a worker that had no descriptors left for a moment serves the version later."""
    opening.error = OSError(24, "Too many open files")
    own_service.follower.refresh()
    opening.error = None
    for name in ("time", "monotonic"):  # however long it waits before it tries again
        clock = getattr(time, name)
        monkeypatch.setattr(time, name, lambda clock=clock: clock() + HOUR)
    own_service.follower.refresh()
    assert "recommend" in own_service.champions.all()


def test_a_version_that_does_not_open_stops_nothing_else(own_service, opening):
    """S21: products and other scenarios are followed, and a server starts, whatever opening one version raises."""
    opening.error = RuntimeError("faiss: the index cannot be read")
    products.append_products(own_service.engine, [{"product_id": "p000", "title": "chair", "stock": 0}])
    own_service.follower.refresh()
    assert "predict" in own_service.champions.all()
    assert "p000" in own_service.catalogue_changes.changes_after(0).changed_products


# Catalogues that change a lot


def test_the_log_is_written_before_a_version_is_waited_for(own_service, monkeypatch):
    """A worker that is stopped while it opens a large version may be killed before that ends; what it has to log is safe."""
    is_writing = []
    stop = own_service.follower.stop

    def stop_follower() -> None:
        is_writing.append(own_service.event_log.is_alive())
        stop()

    monkeypatch.setattr(own_service.follower, "stop", stop_follower)
    own_service.start()
    own_service.stop()
    assert is_writing == [False]


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="S23: every search walks all changed products in Python")
def test_a_search_costs_the_same_however_many_products_changed():
    """S23: changed products are found through an index, not one by one."""
    cost = {}
    for number in (FEW, MANY):
        changed = DeltaIndex({f"p{n}": a_product(n) for n in range(number)})
        changed.search("lamp", NO_FILTERS)
        cost[number] = instructions(lambda changed=changed: changed.search("lamp", NO_FILTERS))
    assert cost[MANY] < 3 * cost[FEW]


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="S23: every change throws the words of all others away")
def test_one_more_change_costs_the_same_however_many_there_were(engine):
    """S23: one changed product is added to the index; it does not make it anew."""
    cost = {}
    changes = StoredChanges(engine)

    def change_one() -> None:
        products.append_products(engine, [a_product(0)])
        changes.refresh()
        changes.changes_after(0).search("lamp", NO_FILTERS)

    for number in (FEW, MANY):
        products.append_products(engine, [a_product(n) for n in range(number)])
        changes.refresh()
        changes.changes_after(0).search("lamp", NO_FILTERS)
        cost[number] = instructions(change_one)
    assert cost[MANY] < 3 * cost[FEW]


@pytest.mark.xfail(
    strict=True, raises=AssertionError, reason="S24: the log of products grows for ever and is read whole"
)
def test_a_worker_that_starts_reads_each_product_once(tmp_path):
    """S24: once cleaned up, the log of products holds the newest change of each product and no older ones."""
    shop_context = ShopContext(ShopFolder(tmp_path))
    for price in range(20):
        products.append_products(shop_context.engine, [{"product_id": "p1", "title": "chair", "price": price}])
    clean_up(shop_context)
    read = products.changes_after(shop_context.engine, 0)
    shop_context.engine.dispose()
    assert len(read) == 1


# Words that are made up


def test_a_made_up_word_does_not_stand_for_a_popular_one(tmp_path):
    """S18: a seller cannot find a word whose hash is that of another: hashes are keyed."""
    titles = ["Ground coffee, dark roast", f"Cheap tyre {COFFEE}", "Green tea"]
    write_term_vectors(titles, titles, tmp_path / "words")
    matches = TermVectors(tmp_path / "words").match_features("coffee", np.arange(len(titles), dtype=np.int32))
    shares = dict(zip(titles, matches[:, MATCH_FEATURES.index("words")].tolist(), strict=True))
    assert shares[f"Cheap tyre {COFFEE}"] == 0.0


def test_the_hashes_of_words_depend_on_the_whole_catalogue(tmp_path):
    """S18: whoever makes up a word for one catalogue changes it by that word, and nothing that was computed before holds."""
    hashes = []
    for made_up in ("", f" {COFFEE}"):
        titles = ["Ground coffee, dark roast", f"Cheap tyre{made_up}"]
        folder = tmp_path / f"words{made_up}"
        write_term_vectors(titles, titles, folder)
        hashes.append(set(np.load(folder / "term_hashes.npy").tolist()))
    assert not hashes[0] & hashes[1]
