"""Modalities of items: unit vectors of text, words, attributes, price, image, shop embedding and co-occurrence.

One block of rows a modality, a row being a unit vector, or zeros where the product has nothing of it. The cosine of two
rows of a block is the similarity of two products in that modality alone.
"""

from collections.abc import Callable
from functools import partial
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from vetrina.core.arrays import Floats
from vetrina.core.files import atomic_write
from vetrina.core.progress import Progress
from vetrina.core.tokeniser import tokenise
from vetrina.core.training_data import Catalogue, Interactions
from vetrina.core.training_plan import TrainingPlan
from vetrina.core.version import VERSION
from vetrina.data import truncated_svd
from vetrina.data.item_tokens import item_token_matrix, tfidf
from vetrina.data.sparse_matrix import shape_of
from vetrina.models.image import train as image_training
from vetrina.models.text import product_vectors
from vetrina.nn.next_item import embedding_init

COOCCURRENCE_WINDOW = 5  # events apart up to which two products co-occur
_MODALITY_DIM = 96
_WHITENING_RIDGE = 0.3  # share of the mean variance
_MIN_ITEMS_PER_WORD = 2
_MAX_ITEM_SHARE = 0.5  # of products that contain a word; a more frequent word says nothing
_SHRINKAGE_EVENTS = 3.0  # events at which the co-occurrence vector of a product has half its length


def content_modalities(catalogue: Catalogue, plan: TrainingPlan, cache: Path, progress: Progress) -> dict[str, Floats]:
    """All modalities but the id that at least one product has, from the shop's cache where they are there.

    Args:
        catalogue: The products.
        plan: Seed, threads, text encoder.
        cache: The shop's cache folder.
        progress: Reports the steps.

    Returns:
        (items, width) by name.
    """
    image_vectors = _image_vectors(catalogue, plan, cache, progress)
    file = cache / f"fusion-{_cache_key(catalogue, plan)}.npz"
    if not file.exists():
        _write_cache(file, _build_modalities(catalogue, plan, cache, progress))
    with np.load(file) as arrays:
        modalities = {name: arrays[name].astype(np.float32) for name in arrays.files}
    modalities["picture"] = image_vectors
    return {name: vectors for name, vectors in modalities.items() if vectors.any()}


def _write_cache(file: Path, modalities: dict[str, Floats]) -> None:
    """Writes the modalities in float16 and deletes all other cached ones but the newest."""
    cache = file.parent
    oldest_first = sorted(cache.glob("fusion-*.npz"), key=lambda path: path.stat().st_mtime)
    for old_file in oldest_first[:-1]:
        old_file.unlink()
    cache.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {name: vectors.astype(np.float16) for name, vectors in modalities.items()}
    with atomic_write(file) as temporary, temporary.open("wb") as opened:
        np.savez(opened, **arrays)


def _cache_key(catalogue: Catalogue, plan: TrainingPlan) -> str:
    """Hash of everything the modalities are built from but the images."""
    key = sha256(f"{VERSION} {plan.encoder} {plan.seed}".encode())
    columns = (
        catalogue.titles,
        catalogue.descriptions,
        catalogue.categories,
        catalogue.brands,
        catalogue.attributes,
        catalogue.property_tokens,
    )
    for column in columns:
        key.update(msgspec.json.encode(column))
    for numbers in (catalogue.prices, catalogue.embeddings):
        key.update(np.ascontiguousarray(numbers).tobytes())
    return key.hexdigest()[:24]


def _build_modalities(catalogue: Catalogue, plan: TrainingPlan, cache: Path, progress: Progress) -> dict[str, Floats]:
    builders: dict[str, Callable[[], Floats]] = {
        "text": partial(_text_vectors, catalogue, plan, cache, progress),
        "words": partial(_word_vectors, catalogue, plan.seed),
        "attributes": partial(_attribute_vectors, catalogue, plan.seed),
        "price": partial(_price_vectors, catalogue),
        "embedding": partial(_shop_embeddings, catalogue),
    }
    modalities = {}
    with progress.step("fusion: modalities of products", len(builders)) as step:
        for name, build in builders.items():
            modalities[name] = build()
            step.advance()
    return modalities


def _no_vectors(n_items: int) -> Floats:
    """The block (items, 1) of a modality that no product has."""
    return np.zeros((n_items, 1), np.float32)


def whiten(vectors: Floats) -> Floats:
    """Whitened unit rows: each principal direction of variance v is scaled by 1 / sqrt(v + ridge).

    Sentence vectors lie in a narrow cone (Su et al. 2021, "Whitening sentence representations"); the ridge is a share
    of the mean variance. Rows of zeros stay.
    """
    is_present = np.asarray(vectors.any(axis=1))
    n_present = max(1, int(is_present.sum()))
    centred = vectors - vectors[is_present].mean(axis=0)
    present = centred[is_present]
    variance, directions = np.linalg.eigh(present.T.astype(np.float64) @ present / n_present)
    ridge = _WHITENING_RIDGE * variance.mean()
    scale = 1.0 / np.sqrt(np.maximum(variance, 0.0) + ridge + 1e-12)
    scaled = centred @ (directions * scale).astype(np.float32)
    whitened = scaled @ directions.T.astype(np.float32)
    return np.where(is_present[:, None], normalise_rows(whitened), 0.0).astype(np.float32)


def normalise_rows(vectors: Floats) -> Floats:
    """Rows of length 1; rows of zeros stay."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.maximum(length, 1e-9)).astype(np.float32)


def _text_vectors(catalogue: Catalogue, plan: TrainingPlan, cache: Path, progress: Progress) -> Floats:
    """Whitened sentence vectors of the product texts."""
    if not any(catalogue.titles) and not any(catalogue.descriptions):
        return _no_vectors(len(catalogue))
    vectors, text_of = product_vectors.catalogue_vectors(catalogue, plan, cache, progress)
    return whiten(vectors)[text_of]


def _word_vectors(catalogue: Catalogue, seed: int) -> Floats:
    """Words of titles and descriptions by log(1 + count) * idf, reduced by SVD."""
    words_of_items = []
    for title, description in zip(catalogue.titles, catalogue.descriptions, strict=True):
        words_of_items.append(tokenise(f"{title} {description}"))
    n_items = len(words_of_items)
    lengths = np.array([len(words) for words in words_of_items], np.int64)
    if not lengths.sum():
        return _no_vectors(len(catalogue))
    all_words = np.array(list(chain.from_iterable(words_of_items)), dtype=object)
    vocabulary, columns = np.unique(all_words.astype(str), return_inverse=True)
    rows = np.repeat(np.arange(n_items), lengths)
    ones = np.ones(len(rows), np.float32)
    counts = sparse.csr_array((ones, (rows, columns)), shape=(n_items, len(vocabulary)))
    counts.sum_duplicates()
    counts.data = np.log1p(counts.data)
    document_frequency = np.bincount(counts.indices, minlength=len(vocabulary))
    max_frequency = max(_MIN_ITEMS_PER_WORD, _MAX_ITEM_SHARE * n_items)
    is_informative = (document_frequency >= _MIN_ITEMS_PER_WORD) & (document_frequency <= max_frequency)
    informative = np.flatnonzero(is_informative)
    idf = np.log(n_items / np.maximum(document_frequency[informative], 1)).astype(np.float32)
    return _reduce_dimensions(sparse.csr_array(counts[:, informative] @ sparse.diags_array(idf)), seed)


def _attribute_vectors(catalogue: Catalogue, seed: int) -> Floats:
    """Properties by TF-IDF, reduced by SVD."""
    tokens, _ = item_token_matrix(catalogue, with_title_words=False, keep_common=True)
    return _reduce_dimensions(tfidf(tokens), seed)


def _reduce_dimensions(rows: sparse.csr_array, seed: int) -> Floats:
    """Unit rows (rows, _MODALITY_DIM or fewer): sparse rows, normalised, along their largest right singular vectors."""
    if not rows.nnz:
        return _no_vectors(shape_of(rows)[0])
    lengths = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
    inverse_lengths = (1.0 / np.maximum(lengths, 1e-9)).astype(np.float32)
    unit_rows = sparse.csr_array(sparse.diags_array(inverse_lengths) @ rows)
    _, directions = truncated_svd.right_singular_vectors(unit_rows, _MODALITY_DIM, seed)
    return normalise_rows(np.asarray(unit_rows @ directions, np.float32))


def _price_vectors(catalogue: Catalogue) -> Floats:
    """Points on a quarter circle by the price's rank within its category: cheapest and dearest are orthogonal."""
    vectors = np.zeros((len(catalogue), 2), np.float32)
    names = np.array(catalogue.categories, dtype=object).astype(str)
    _, categories = np.unique(names, return_inverse=True)
    priced = np.flatnonzero(np.isfinite(catalogue.prices))
    if not len(priced):
        return vectors
    order = priced[np.lexsort((catalogue.prices[priced], categories[priced]))]
    sorted_categories = categories[order]
    is_start = np.append(True, sorted_categories[1:] != sorted_categories[:-1])
    starts = np.flatnonzero(is_start)
    lengths = np.diff(np.append(starts, len(order)))
    rank = np.arange(len(order)) - np.repeat(starts, lengths)
    angle = (rank + 0.5) / np.repeat(lengths, lengths) * np.pi / 2
    vectors[order] = np.column_stack([np.cos(angle), np.sin(angle)])
    return vectors


def _image_vectors(catalogue: Catalogue, plan: TrainingPlan, cache: Path, progress: Progress) -> Floats:
    """Whitened vectors of the image model, fitted in this run or read from the cache."""
    n_images = sum(1 for image in catalogue.images if image)
    if n_images < image_training.MIN_IMAGES:
        return _no_vectors(len(catalogue))
    folder = image_training.fitted_folder(catalogue, plan, cache, progress)
    vectors = np.load(folder / "vectors.npy")
    if not vectors.any():
        return _no_vectors(len(catalogue))
    return whiten(vectors)


def _shop_embeddings(catalogue: Catalogue) -> Floats:
    """Whitened vectors that the shop provides itself."""
    embeddings = catalogue.embeddings
    if not embeddings.size or not embeddings.any():
        return _no_vectors(len(catalogue))
    return whiten(embeddings)


def cooccurrence_vectors(events: Interactions, n_items: int, seed: int) -> Floats:
    """The id modality: co-occurrence vectors of products, shrunk where there are few events.

    Args:
        events: Behaviour to count.
        n_items: Products of the catalogue.
        seed: Of the SVD.

    Returns:
        (items, width): unit rows times n / (n + _SHRINKAGE_EVENTS) for a product of n events, zeros for one without
        events.
    """
    items, rows, counts = np.unique(events.item, return_inverse=True, return_counts=True)
    ppmi = embedding_init.ppmi_vectors(events, rows, len(items), _MODALITY_DIM, seed, COOCCURRENCE_WINDOW)
    unit_vectors: NDArray[np.float32] = normalise_rows(ppmi)
    shrinkage = counts / (counts + _SHRINKAGE_EVENTS)
    vectors = np.zeros((n_items, _MODALITY_DIM), np.float32)
    vectors[items] = unit_vectors * shrinkage[:, None]
    return vectors
