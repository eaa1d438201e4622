"""How much each modality says of what is taken together.

A product b taken shortly after a is told among others n by softmax over likenesses,

    loss = -log exp(s(a, b)) / (exp(s(a, b)) + sum_n exp(s(a, n))),    s(a, b) = sum_m w_m cos_m(a, b),  w_m >= 0,

InfoNCE (van den Oord et al. 2018) with one weight a modality. In half of the pairs the id says nothing (id-dropout, Volkovs et
al. 2017, "DropoutNet"): there, content has to do without it, as for a product that nobody has taken yet.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import minimize

from vetrina.core.types import Floats
from vetrina.layers.sparse_rows import shape_of

ID_MODALITY = "id"
_MAX_PAIRS = 6_000
_NEGATIVES_PER_PAIR = 128
_L2_PENALTY = 1e-3
_INITIAL_WEIGHT = 3.0


def fit_modality_weights(
    modalities: Mapping[str, Floats], cooccurrences: sparse.csr_array, seed: int, id_dropout: float
) -> dict[str, float]:
    """Of each modality its weight w_m >= 0, by L-BFGS; ``together`` (items, items) counts what is taken after what.

    Where too little is taken together to learn from, every modality weighs the same.
    """
    rng = np.random.default_rng(seed)
    first, then = _sample_pairs(cooccurrences, rng)
    if not len(first):
        return dict.fromkeys(modalities, 1.0)
    others = rng.integers(0, shape_of(cooccurrences)[0], (len(first), _NEGATIVES_PER_PAIR))
    shown = np.concatenate([then[:, None], others], axis=1)
    alike = np.stack([_cosines(block, first, shown) for block in modalities.values()], axis=2)
    if ID_MODALITY in modalities:
        alike[rng.random(len(first)) < id_dropout, :, list(modalities).index(ID_MODALITY)] = 0.0
    out = np.zeros(shown.shape, bool)
    out[:, 1:] = (others == then[:, None]) | (others == first[:, None])
    found = _minimise_info_nce(alike.astype(np.float64), out)
    return dict(zip(modalities, found.tolist(), strict=True))


def _sample_pairs(together: sparse.csr_array, rng: np.random.Generator) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """At most _PAIRS, each as likely as it is taken; popular products no more often than the root of that."""
    if not together.nnz:
        return np.empty(0, np.intp), np.empty(0, np.intp)
    row = np.repeat(np.arange(shape_of(together)[0]), np.diff(together.indptr))
    popular = np.asarray(together.sum(axis=0)).ravel()
    chance = together.data / np.sqrt(np.maximum(popular[together.indices], 1e-9))
    drawn = rng.choice(len(row), _MAX_PAIRS, p=chance / chance.sum())
    return row[drawn].astype(np.intp), together.indices[drawn].astype(np.intp)


def _cosines(block: Floats, first: NDArray[np.intp], shown: NDArray[np.intp]) -> Floats:
    """(pairs, shown) cosines."""
    return np.einsum("pd,pnd->pn", block[first], block[shown], optimize=True)


def _minimise_info_nce(alike: NDArray[np.float64], out: NDArray[np.bool_]) -> NDArray[np.float64]:
    def loss(w: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        score = np.where(out, -np.inf, alike @ w)
        score -= score.max(axis=1, keepdims=True)
        chance = np.exp(score)
        total = chance.sum(axis=1, keepdims=True)
        chance /= total
        value = float((np.log(total[:, 0]) - score[:, 0]).mean()) + 0.5 * _L2_PENALTY * float(w @ w)
        gradient = (np.einsum("pn,pnm->m", chance, alike) - alike[:, 0].sum(axis=0)) / len(alike) + _L2_PENALTY * w
        return value, gradient

    begin = np.full(alike.shape[2], _INITIAL_WEIGHT)
    return minimize(loss, begin, jac=True, method="L-BFGS-B", bounds=[(0.0, None)] * len(begin)).x
