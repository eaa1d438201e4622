"""The shelf finds products by their ids and gives back what the catalogue says, whatever script it is written in."""

from pathlib import Path

import numpy as np
import pytest

from vetrina.bundle.catalogue.read import CatalogueIndex
from vetrina.bundle.catalogue.write import write_catalogue
from vetrina.core.training_data import Catalogue, Interactions
from vetrina.features import histories
from vetrina.features.histories import Histories

IDS = sorted(["a", "b10", "b2", "émile", "z" * 12, "日本", "🍎"])
TITLES = ("Apple", "Birne, rot", "Apple", "", "Käse", "", "りんご")


def catalogue(stock: list[float]) -> Catalogue:
    none = ("",) * len(IDS)
    prices = np.array([1.99, 2.5, np.nan, 0.1, 1e9 + 0.01, 3.0, 4.0])
    return Catalogue(np.array(IDS), TITLES, none, none, none, none, prices, np.array(stock), np.zeros(len(IDS)))


def test_ids_titles_and_numbers_are_those_of_the_catalogue(tmp_path: Path):
    given = catalogue([1.0, np.nan, 3.0, 0.0, 5.0, 6.0, 7.0])
    write_catalogue(given, tmp_path)
    opened = CatalogueIndex(tmp_path)
    assert [opened.product_id(i) for i in range(len(opened))] == IDS
    assert [opened.title(i) for i in range(len(opened))] == list(TITLES)
    np.testing.assert_array_equal(opened.sort_key("price"), given.prices)
    np.testing.assert_array_equal(opened.sort_key("stock"), given.stock)
    assert np.load(tmp_path / "stock.npy").dtype == np.float32, "which says the same in half of the bytes"
    assert np.load(tmp_path / "price.npy").dtype == np.float64


def test_an_id_is_found_only_if_it_is_there_whole(tmp_path: Path):
    write_catalogue(catalogue([np.nan] * len(IDS)), tmp_path)
    opened = CatalogueIndex(tmp_path)
    assert opened.index_of(IDS[::-1]).tolist() == list(range(len(IDS)))[::-1]
    unknown = ["", "A", "b1", "z" * 11, "z" * 13, "z" * 40, "日", "日本語の長い名前です", "\udcff"]
    assert opened.index_of(unknown).tolist() == [-1] * len(unknown)
    assert opened.index_of([]).tolist() == []


def test_people_are_found_only_by_their_whole_names_and_times_keep_their_fractions(tmp_path: Path):
    names = np.array(sorted(["u1", "u10", "ü", "人"]))
    for number, time in enumerate((np.array([5.0, 6.0, 9.0, 1e9]), np.array([5.25, 6.0, 9.5, 1e9 + 0.125]))):
        items = np.array([3, 0, 2, 1], np.int32)
        user = np.array([0, 0, 1, 3], np.int32)
        histories.write(Interactions(names, user, items, time, np.ones(4, np.float32), 2e9), tmp_path / str(number))
        opened = Histories(tmp_path / str(number))
        assert opened.sample_users(10) == names.tolist()
        assert [name in opened for name in ("u1", "u", "u100", "u1" * 20, "ü", "人", "\udcff")] == [
            True, False, False, False, True, True, False
        ]  # fmt: skip
        history = opened.history_of("u1", (), 2e9)
        assert (history.items.tolist(), history.times.tolist()) == ([3, 0], time[:2].tolist())
        assert opened.history_of("人", (), 2e9).times.tolist() == time[3:].tolist()
    assert np.load(tmp_path / "0/recent_times.npy").dtype == np.uint32


def test_the_time_of_a_basket_stands_once_and_comes_back_for_each_of_its_products(tmp_path: Path):
    """Two users whose baskets meet at one moment, one who took nothing, one of a single event."""
    names = np.array(["a", "b", "c", "d"])
    user = np.repeat(np.array([0, 1, 3], np.int32), [7, 5, 1])
    times = np.array([5.0, 5, 5, 5, 8, 8, 8, 8, 8, 8, 8, 8, 8])
    items = np.array([4, 2, 9, 1, 4, 2, 3, 7, 6, 5, 7, 0, 8], np.int32)
    histories.write(Interactions(names, user, items, times, np.ones(13, np.float32), 9.0), tmp_path)
    assert len(np.load(tmp_path / "recent_times.npy")) == 4
    opened = Histories(tmp_path)
    for number, name in enumerate(names.tolist()):
        history = opened.history_of(name, (), 9.0)
        assert history.times.tolist() == times[user == number].tolist()
        assert history.items.tolist() == items[user == number].tolist()
        assert history.counts_items.tolist() == sorted(set(items[user == number].tolist()))
    assert opened.history_of("b", (), 9.0).counts.tolist() == pytest.approx([1, 1, 1, 2], rel=1e-4)
