"""What is known of products, one block of vectors a modality: unit rows, or zeros where a product has none of it.

The cosine of two rows of a block says how alike two products are in that alone.
"""

from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from vetrina.core.files import atomic_write
from vetrina.core.progress import Progress
from vetrina.core.tokeniser import tokenise
from vetrina.core.types import Catalogue, Floats, Interactions, TrainingPlan
from vetrina.core.version import VERSION
from vetrina.layers import truncated_svd
from vetrina.layers.item_tokens import item_token_matrix, tfidf
from vetrina.layers.next_item import embedding_init
from vetrina.layers.sparse_rows import shape_of
from vetrina.models.image import train as pictures
from vetrina.models.text import product_vectors as sentences

_MODALITY_DIM = 96
_WHITENING_RIDGE = 0.3
_MIN_ITEMS_PER_WORD = 2
_MAX_ITEM_SHARE = 0.5
COOCCURRENCE_WINDOW = 5  # events apart up to which two products are taken beside each other
_SHRINKAGE_EVENTS = 3.0  # events at which what is taken beside a product counts half


def content_modalities(catalogue: Catalogue, plan: TrainingPlan, into: Path, progress: Progress) -> dict[str, Floats]:
    """(items, width) of every modality but the id that at least one product has. ``into`` is the model's folder in a run's.

    A run's fits know the same catalogue: what the first of them found, the others read.
    """
    cache = into.parent.parent / "cache"
    picture = {"picture": _image_vectors(catalogue, plan, cache, progress)}
    file = cache / f"fusion-{_cache_key(catalogue, plan)}.npz"
    if not file.exists():
        found = _build_modalities(catalogue, plan, cache, progress)
        for old in sorted(cache.glob("fusion-*.npz"), key=lambda kept: kept.stat().st_mtime)[:-1]:
            old.unlink()
        cache.mkdir(parents=True, exist_ok=True)
        with atomic_write(file) as temporary, temporary.open("wb") as opened:
            halved: dict[str, Any] = {name: block.astype(np.float16) for name, block in found.items()}
            np.savez(opened, **halved)
    with np.load(file) as kept:
        found = {name: kept[name].astype(np.float32) for name in kept.files}
    return {name: block for name, block in (found | picture).items() if block.any()}


def _cache_key(catalogue: Catalogue, plan: TrainingPlan) -> str:
    """Names what modalities are made of, but for pictures."""
    said = sha256(f"{VERSION} {plan.encoder} {plan.seed}".encode())
    texts = (catalogue.titles, catalogue.descriptions, catalogue.categories, catalogue.brands, catalogue.attributes)
    for column in (*texts, catalogue.property_tokens):
        said.update(msgspec.json.encode(column))
    for numbers in (catalogue.prices, catalogue.embeddings):
        said.update(np.ascontiguousarray(numbers).tobytes())
    return said.hexdigest()[:24]


def _build_modalities(catalogue: Catalogue, plan: TrainingPlan, cache: Path, progress: Progress) -> dict[str, Floats]:
    makers: dict[str, Callable[[], Floats]] = {
        "text": partial(_text_vectors, catalogue, plan, cache, progress),
        "words": partial(_word_vectors, catalogue, plan.seed),
        "attributes": partial(_attribute_vectors, catalogue, plan.seed),
        "price": partial(_price_vectors, catalogue),
        "embedding": partial(_shop_embeddings, catalogue),
    }
    found = {}
    with progress.step("fusion: what is known of products", len(makers)) as step:
        for name, made in makers.items():
            found[name] = made()
            step.advance()
    return found


def whiten(vectors: Floats) -> Floats:
    """Unit rows in which no direction that most vectors share drowns the others: each of variance v by 1 / sqrt(v + ridge).

    Sentence vectors lie in a narrow cone (Su et al. 2021, "Whitening sentence representations"); the ridge is a share of the mean
    variance. Rows of zeros stay.
    """
    there = np.asarray(vectors.any(axis=1))
    moved = vectors - vectors[there].mean(axis=0)
    variance, direction = np.linalg.eigh(moved[there].T.astype(np.float64) @ moved[there] / max(1, int(there.sum())))
    scale = 1.0 / np.sqrt(np.maximum(variance, 0.0) + _WHITENING_RIDGE * variance.mean() + 1e-12)
    turned = (moved @ (direction * scale).astype(np.float32)) @ direction.T.astype(np.float32)
    return np.where(there[:, None], normalise_rows(turned), 0.0).astype(np.float32)


def normalise_rows(vectors: Floats) -> Floats:
    """Rows of length 1, zeros where they were."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.maximum(length, 1e-9)).astype(np.float32)


def _text_vectors(catalogue: Catalogue, plan: TrainingPlan, cache: Path, progress: Progress) -> Floats:
    if not any(catalogue.titles) and not any(catalogue.descriptions):
        return np.zeros((len(catalogue), 1), np.float32)
    vectors, text_of = sentences.catalogue_vectors(catalogue, plan.encoder, plan.threads, cache, progress)
    return whiten(vectors)[text_of]


def _word_vectors(catalogue: Catalogue, seed: int) -> Floats:
    """Titles and descriptions by their words, log(1 + count) * idf, in as many directions as tell most apart."""
    said = [tokenise(f"{title} {text}") for title, text in zip(catalogue.titles, catalogue.descriptions, strict=True)]
    lengths = np.array([len(s) for s in said], np.int64)
    if not lengths.sum():
        return np.zeros((len(catalogue), 1), np.float32)
    names, code = np.unique(np.array([w for s in said for w in s], dtype=object).astype(str), return_inverse=True)
    row = np.repeat(np.arange(len(said)), lengths)
    counts = sparse.csr_array((np.ones(len(row), np.float32), (row, code)), shape=(len(said), len(names)))
    counts.sum_duplicates()
    counts.data = np.log1p(counts.data)
    carriers = np.bincount(counts.indices, minlength=len(names))
    kept = np.flatnonzero(
        (carriers >= _MIN_ITEMS_PER_WORD) & (carriers <= max(_MIN_ITEMS_PER_WORD, _MAX_ITEM_SHARE * len(said)))
    )
    idf = sparse.diags_array(np.log(len(said) / np.maximum(carriers[kept], 1)).astype(np.float32))
    return _reduce_dimensions(sparse.csr_array(counts[:, kept] @ idf), seed)


def _attribute_vectors(catalogue: Catalogue, seed: int) -> Floats:
    return _reduce_dimensions(tfidf(item_token_matrix(catalogue, with_title_words=False, keep_common=True)[0]), seed)


def _reduce_dimensions(rows: sparse.csr_array, seed: int) -> Floats:
    """(rows, _WIDTH or fewer): sparse rows of length 1 along the largest right singular vectors, of length 1 again."""
    if not rows.nnz:
        return np.zeros((shape_of(rows)[0], 1), np.float32)
    length = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
    rows = sparse.csr_array(sparse.diags_array((1.0 / np.maximum(length, 1e-9)).astype(np.float32)) @ rows)
    _, directions = truncated_svd.right_singular_vectors(rows, _MODALITY_DIM, seed)
    return normalise_rows(np.asarray(rows @ directions, np.float32))


def _price_vectors(catalogue: Catalogue) -> Floats:
    """On a quarter of a circle by the price's rank within its category: cheap and dear are at right angles."""
    found = np.zeros((len(catalogue), 2), np.float32)
    kinds = np.unique(np.array(catalogue.categories, dtype=object).astype(str), return_inverse=True)[1]
    known = np.flatnonzero(np.isfinite(catalogue.prices))
    order = known[np.lexsort((catalogue.prices[known], kinds[known]))]
    starts = np.flatnonzero(np.append(True, kinds[order][1:] != kinds[order][:-1])) if len(order) else np.empty(0, int)
    lengths = np.diff(np.append(starts, len(order)))
    place = (np.arange(len(order)) - np.repeat(starts, lengths) + 0.5) / np.repeat(lengths, lengths)
    angle = place * np.pi / 2
    found[order] = np.column_stack([np.cos(angle), np.sin(angle)])
    return found


def _image_vectors(catalogue: Catalogue, plan: TrainingPlan, cache: Path, progress: Progress) -> Floats:
    """As the model of pictures has looked at them in this run."""
    if sum(map(bool, catalogue.images)) < pictures.MIN_IMAGES:
        return np.zeros((len(catalogue), 1), np.float32)
    found = np.load(pictures.fitted_folder(catalogue, plan, cache, progress) / "vectors.npy")
    return whiten(found) if found.any() else np.zeros((len(catalogue), 1), np.float32)


def _shop_embeddings(catalogue: Catalogue) -> Floats:
    given = catalogue.embeddings
    return whiten(given) if given.size and given.any() else np.zeros((len(catalogue), 1), np.float32)


def cooccurrence_vectors(events: Interactions, n_items: int, seed: int) -> Floats:
    """(items, width) what is taken beside a product; shorter than 1 for products of few events, n / (n + _TRUSTED) of it."""
    taken, rows, counts = np.unique(events.item, return_inverse=True, return_counts=True)
    found = np.zeros((n_items, _MODALITY_DIM), np.float32)
    vectors: NDArray[np.float32] = normalise_rows(
        embedding_init.ppmi_vectors(events, rows, len(taken), _MODALITY_DIM, seed, COOCCURRENCE_WINDOW)
    )
    found[taken] = vectors * (counts / (counts + _SHRINKAGE_EVENTS))[:, None]
    return found
