"""Neighbours in fewer bytes: which stay, and what they are worth."""

from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vetrina.retrieval.neighbours import Neighbours, quantize


def written(folder: Path, lengths: list[int], seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng, folder = np.random.default_rng(seed), folder
    folder.mkdir(exist_ok=True)
    starts = np.append(0, np.cumsum(lengths)).astype(np.int64)
    items = np.concatenate([np.empty(0, np.int32), *(rng.permutation(50)[:n] for n in lengths)]).astype(np.int32)
    values = rng.uniform(0.01, 1.0, int(starts[-1])).astype(np.float32)
    for name, array in {"starts": starts, "items": items, "values": values}.items():
        np.save(folder / f"{name}.npy", array)
    return starts, items, values


@given(st.lists(st.integers(0, 40), min_size=1, max_size=50), st.integers(0, 1_000), st.sampled_from([0.25, 0.5, 1.0]))
@settings(max_examples=50, deadline=None)
def test_the_larger_share_of_each_row_stays_at_nearly_its_worth(tmp_path_factory, lengths, seed, keep):
    root = tmp_path_factory.mktemp("rows")
    starts, items, values = written(root / "float", lengths + [0] * (50 - len(lengths)), seed)
    (root / "small").mkdir()
    quantize(root / "float", root / "small", keep)
    small = Neighbours(root / "small")
    assert len(small) == 50
    for row in range(50):
        inside = slice(starts[row], starts[row + 1])
        kept = int(np.ceil(keep * len(values[inside])))
        expected = np.zeros(50, np.float32)
        best = np.argsort(-values[inside], kind="stable")[:kept]
        expected[items[inside][best]] = values[inside][best]
        found = small.sum(np.array([row]), np.ones(1))
        np.testing.assert_allclose(found, expected, atol=float(values[inside].max(initial=0.0)) / 255.0)
        assert (found > 0).sum() == kept
