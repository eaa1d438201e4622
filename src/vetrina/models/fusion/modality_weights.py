"""Modality weights, learnt from co-occurrence with InfoNCE (van den Oord et al. 2018) and id dropout.

A product b taken shortly after a is distinguished from others n by softmax over similarities,

    loss = -log exp(s(a, b)) / (exp(s(a, b)) + sum_n exp(s(a, n))),    s(a, b) = sum_m w_m cos_m(a, b),  w_m >= 0,

with one weight a modality. In half of the pairs the id's cosines are set to zero (id dropout; Volkovs et al. 2017,
"DropoutNet"), so that content has to do without it, as for a cold-start item.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import minimize

from vetrina.core.types import Floats
from vetrina.data.sparse_matrix import shape_of

ID_MODALITY = "id"
_MAX_PAIRS = 6_000
_NEGATIVES_PER_PAIR = 128
_L2_PENALTY = 1e-3
_INITIAL_WEIGHT = 3.0


def fit_modality_weights(
    modalities: Mapping[str, Floats], cooccurrences: sparse.csr_array, seed: int, id_dropout: float
) -> dict[str, float]:
    """The weight w_m >= 0 of each modality, by L-BFGS on sampled pairs.

    Args:
        modalities: Unit rows or zeros (items, width) by name.
        cooccurrences: Directed counts (items, items): the column's product is taken after the row's.
        seed: Of the sampled pairs and negatives.
        id_dropout: Share of pairs without the id modality.

    Returns:
        Weights by name; all 1 where there are no co-occurrences.
    """
    rng = np.random.default_rng(seed)
    anchors, positives = _sample_pairs(cooccurrences, rng)
    if not len(anchors):
        return dict.fromkeys(modalities, 1.0)
    n_items = shape_of(cooccurrences)[0]
    negatives = rng.integers(0, n_items, (len(anchors), _NEGATIVES_PER_PAIR))
    candidates = np.concatenate([positives[:, None], negatives], axis=1)
    blocks = [_cosines(vectors, anchors, candidates) for vectors in modalities.values()]
    cosines = np.stack(blocks, axis=2)
    if ID_MODALITY in modalities:
        dropped = rng.random(len(anchors)) < id_dropout
        cosines[dropped, :, list(modalities).index(ID_MODALITY)] = 0.0
    is_excluded = np.zeros(candidates.shape, bool)
    is_excluded[:, 1:] = (negatives == positives[:, None]) | (negatives == anchors[:, None])
    weights = _minimise_info_nce(cosines.astype(np.float64), is_excluded)
    return dict(zip(modalities, weights.tolist(), strict=True))


def _sample_pairs(
    cooccurrences: sparse.csr_array, rng: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Anchors and positives (pairs,), sampled by count divided by the square root of the positive's popularity."""
    if not cooccurrences.nnz:
        return np.empty(0, np.intp), np.empty(0, np.intp)
    row_lengths = np.diff(cooccurrences.indptr)
    rows = np.repeat(np.arange(shape_of(cooccurrences)[0]), row_lengths)
    popularity = np.asarray(cooccurrences.sum(axis=0)).ravel()
    weights = cooccurrences.data / np.sqrt(np.maximum(popularity[cooccurrences.indices], 1e-9))
    sample = rng.choice(len(rows), _MAX_PAIRS, p=weights / weights.sum())
    return rows[sample].astype(np.intp), cooccurrences.indices[sample].astype(np.intp)


def _cosines(vectors: Floats, anchors: NDArray[np.intp], candidates: NDArray[np.intp]) -> Floats:
    """Cosines (pairs, candidates) of each anchor (pairs,) with its candidates (pairs, candidates)."""
    return np.einsum("pd,pnd->pn", vectors[anchors], vectors[candidates], optimize=True)


def _minimise_info_nce(cosines: NDArray[np.float64], is_excluded: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Weights (modalities,) for cosines (pairs, candidates, modalities), the positive being the first candidate."""
    n_pairs, _, n_modalities = cosines.shape
    positive_sum = cosines[:, 0].sum(axis=0)

    def loss_and_gradient(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logits = np.where(is_excluded, -np.inf, cosines @ weights)
        logits -= logits.max(axis=1, keepdims=True)
        probabilities = np.exp(logits)
        total = probabilities.sum(axis=1, keepdims=True)
        probabilities /= total
        cross_entropy = float((np.log(total[:, 0]) - logits[:, 0]).mean())
        loss = cross_entropy + 0.5 * _L2_PENALTY * float(weights @ weights)
        expected_sum = np.einsum("pn,pnm->m", probabilities, cosines)
        gradient = (expected_sum - positive_sum) / n_pairs + _L2_PENALTY * weights
        return loss, gradient

    initial_weights = np.full(n_modalities, _INITIAL_WEIGHT)
    bounds = [(0.0, None)] * n_modalities
    return minimize(loss_and_gradient, initial_weights, jac=True, method="L-BFGS-B", bounds=bounds).x
