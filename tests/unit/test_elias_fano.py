"""Rising numbers come back as they were, whichever lists are asked for, in hardly more bits than their gaps ask for."""

from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vetrina.bundle import elias_fano
from vetrina.bundle.elias_fano import EliasFanoLists


@given(
    st.lists(st.integers(0, 30), max_size=12),
    st.sampled_from([0, 1, 200, 4_000, 92_000, 2**20]),
    st.integers(0, 2**32 - 1),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_list_holds_what_was_saved(tmp_path: Path, lengths: list[int], largest: int, seed: int):
    rng = np.random.default_rng(seed)
    lists = [np.sort(rng.integers(0, largest, n, endpoint=True)) for n in lengths]
    for file in tmp_path.iterdir():
        file.unlink()
    elias_fano.save_elias_fano(
        tmp_path, "some", np.array(lengths, int), np.concatenate([np.empty(0, np.int64), *lists])
    )
    opened = EliasFanoLists(tmp_path, "some")
    assert len(opened) == len(lists)
    rows = rng.integers(0, len(lists), 6) if lists else np.empty(0, np.intp)
    lists_taken = opened.take(rows)
    assert lists_taken.lengths.tolist() == [lengths[row] for row in rows]
    assert lists_taken.values.tolist() == [n for row in rows for n in lists[row].tolist()]
    everything = np.concatenate([np.empty(0, np.int64), *lists])
    assert everything[lists_taken.indices].tolist() == lists_taken.values.tolist()


def test_a_number_takes_two_bits_more_than_its_gap(tmp_path: Path):
    rng = np.random.default_rng(1)
    lists = [np.sort(rng.choice(92_000, 90, replace=False)) for _ in range(1_000)]  # gaps of about 1,000: ten bits
    elias_fano.save_elias_fano(tmp_path, "some", np.full(1_000, 90), np.concatenate(lists))
    assert sum(f.stat().st_size for f in tmp_path.iterdir()) < 90_000 * 12.5 / 8


def test_lists_of_nothing_take_a_byte(tmp_path: Path):
    lengths = np.zeros(50_000, int)
    lengths[7] = 3
    elias_fano.save_elias_fano(tmp_path, "some", lengths, np.array([1, 50_000, 90_000]))
    assert sum(f.stat().st_size for f in tmp_path.iterdir()) < 51_000
    assert EliasFanoLists(tmp_path, "some").take(np.array([3, 7])).values.tolist() == [1, 50_000, 90_000]
