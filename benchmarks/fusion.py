"""Products that nobody has taken, on Amazon 2018 Office and Industrial: what is known of them, fused, finds their buyers.

Learnt from histories and targets of the valid part; asked for the rows of the test part. A row is new where its target occurs
nowhere in the valid part, sold otherwise (the first 1,500). All products but those of the row's history are ranked, ties at half
rank; "among the new" ranks only products that nobody took. Recall@20, 95 % bootstrap over rows (2,000 draws, seed 42). The
reference is the text vector (MiniLM) nearest to the last product.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.data import folder
from benchmarks.record import note, record, row
from vetrina.core.arrays import Floats
from vetrina.core.progress import NoProgress
from vetrina.core.protocols import History
from vetrina.core.training_data import Catalogue, Interactions
from vetrina.core.training_plan import TrainingPlan
from vetrina.evaluation.bootstrap import mean_interval
from vetrina.models.fusion import train
from vetrina.models.fusion.modalities import content_modalities, normalise_rows
from vetrina.models.fusion.model import MODEL
from vetrina.models.fusion.online import Fusion
from vetrina.models.text import product_vectors as texts
from vetrina.ranking.reserved_positions import fill_reserved_positions

_K = 20
_MOST_SOLD = 1_500
Row = tuple[NDArray[np.int32], int]


@dataclass(frozen=True)
class Shop:
    """One set: ``new`` (items,) products that nobody took in the valid part."""

    catalogue: Catalogue
    events: Interactions
    new: NDArray[np.bool_]
    asked: tuple[Row, ...]
    sold: tuple[Row, ...]


def main() -> None:
    """Both sets, with each modality left out."""
    for name in ("office", "industrial"):
        with tempfile.TemporaryDirectory() as scratch:
            _set(name, read(name), Path(scratch))


def _set(name: str, shop: Shop, root: Path) -> None:
    plan = TrainingPlan()
    many = len(shop.catalogue)
    vectors, text_of = texts.catalogue_vectors(shop.catalogue, plan, root / "cache", NoProgress())
    text = normalise_rows(vectors)[text_of]
    note(f"{name}: {many:,} products, {int(shop.new.sum())} new; {len(shop.asked)} rows with a new target")
    begun = time.process_time()
    parts = content_modalities(shop.catalogue, plan, root / "cache", NoProgress())
    whole = train.fuse(parts, shop.events, many, plan.seed, MODEL.hyperparameters)
    note(f"{ ({k: round(v, 2) for k, v in whole.weights.items()}) } in {time.process_time() - begun:.0f} CPU-s")
    reference = _shown(f"{name}: text nearest to the last", lambda row: text @ text[row[0][-1]], shop, None)
    _shown(f"{name}: fusion, float", _as_learnt(whole.vectors), shop, reference)
    _shown(f"{name}: fusion", _by(whole.vectors, root), shop, reference)
    for left in parts:
        rest = {k: v for k, v in parts.items() if k != left}
        fused = train.fuse(rest, shop.events, many, plan.seed, MODEL.hyperparameters)
        _shown(f"{name}: without {left}", _by(fused.vectors, root), shop, reference)
    without = train.fuse(parts, None, many, plan.seed, MODEL.hyperparameters)
    _shown(f"{name}: without behaviour, all alike", _by(without.vectors, root), shop, reference)
    score = _by(whole.vectors, root)
    for share in (0.1, 0.25, 0.5):
        _kept(f"{name}: fusion, {share:.0%} of the places kept", score, shop, share, reference)


def _as_learnt(vectors: Floats) -> Callable[[Row], Floats]:
    with tempfile.TemporaryDirectory() as scratch:
        np.save(Path(scratch) / "vectors.npy", vectors)
        return _asked(Fusion(Path(scratch)))


def _by(vectors: Floats, root: Path) -> Callable[[Row], Floats]:
    """As they serve."""
    into = Path(tempfile.mkdtemp(dir=root))
    train.write_vectors(vectors, into)
    return _asked(Fusion(into))


def _asked(opened: Fusion) -> Callable[[Row], Floats]:
    none = np.empty(0, np.int32)
    return lambda row: opened.score(History(row[0], np.zeros(len(row[0])), none, np.empty(0), 0.0))


def _shown(what: str, score: Callable[[Row], Floats], shop: Shop, reference: NDArray[np.float64] | None) -> np.ndarray:
    hits = np.array([_hit(score(row), row) for row in shop.asked])
    among = np.array([_hit(np.where(shop.new, score(row), -np.inf), row) for row in shop.asked])
    sold = np.array([_hit(score(row), row) for row in shop.sold])
    of = "" if reference is None else f"{hits.mean() / reference.mean():.2f} times the text (goal 2)"
    row(what, f"{_said(hits)}; among the new {_said(among)}; sold {_said(sold)}", of)
    return hits


def _kept(what: str, score: Callable[[Row], Floats], shop: Shop, share: float, reference: np.ndarray) -> None:
    """Every 1 / share-th place goes to a new product."""

    def hit(row: Row) -> float:
        scores = score(row).copy()
        scores[row[0]] = -np.inf
        usual = np.argsort(-scores, kind="stable")
        new = np.argsort(-np.where(shop.new, scores, -np.inf), kind="stable")
        return float(row[1] in fill_reserved_positions(usual[:_K], new[:_K], share, _K))

    hits, sold = (np.array([hit(row) for row in rows]) for rows in (shop.asked, shop.sold))
    row(what, f"{_said(hits)}; sold {_said(sold)}", f"{hits.mean() / reference.mean():.2f} times the text")


def _hit(score: Floats, row: Row) -> float:
    history, target = row
    scores = score.copy()
    scores[history] = -np.inf
    own = scores[target]
    return float((scores > own).sum() + ((scores == own).sum() - 1) / 2 < _K)


def _said(values: np.ndarray) -> str:
    interval = mean_interval(values)
    return f"{interval.point:.4f} [{interval.low:.4f}, {interval.high:.4f}]"


def read(name: str) -> Shop:
    at = folder("amazon18-text-seq")
    items = pl.read_parquet(at / f"{name}_items.parquet").sort("item_id")
    many = len(items)
    none = np.full(len(items), np.nan)
    title, text, brand = (tuple(items[c].fill_null("").to_list()) for c in ("title", "description", "brand"))
    ids = np.array([f"{n:05d}" for n in items["item_id"]])
    empty = ("",) * many
    tokens = tuple((f"brand: {b}",) if b else () for b in brand)
    catalogue = Catalogue(ids, title, text, empty, brand, empty, none, none, none, property_tokens=tokens)
    visits: dict[int, list[int]] = {}
    for user, history, target in _rows(at / f"{name}_valid.parquet"):
        visits[user] = [*visits[user], target] if user in visits else [*history, target]
    user = np.concatenate([np.full(len(v), n, np.int32) for n, v in enumerate(visits.values())])
    item = np.concatenate([np.array(v, np.int32) for v in visits.values()])
    place = np.concatenate([np.arange(len(v), dtype=np.float64) for v in visits.values()])
    order = np.argsort(place, kind="stable")
    users = np.array([f"{n:06d}" for n in range(len(visits))])
    events = Interactions(
        users, user[order], item[order], place[order], np.ones(len(order), np.float32), float(place.max() + 1)
    )
    new = np.ones(many, bool)
    new[item] = False
    requests = [(np.array(history, np.int32), target) for _, history, target in _rows(at / f"{name}_test.parquet")]
    wanted, sold = ([r for r in requests if new[r[1]] == is_new] for is_new in (True, False))
    return Shop(catalogue, events, new, tuple(wanted), tuple(sold[:_MOST_SOLD]))


def _rows(file: Path) -> list[tuple[int, list[int], int]]:
    return pl.read_parquet(file).select("user_id", "history", "target").rows()


if __name__ == "__main__":
    record("fusion", __doc__, main)
