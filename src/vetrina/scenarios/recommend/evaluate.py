"""Judges recommend on what users really took next, over the full catalogue."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vetrina.core.progress import Progress, Silent
from vetrina.core.protocols import History
from vetrina.core.types import Evidence, Floats, Ints, Scores
from vetrina.metrics import blend
from vetrina.metrics.ranking import half_ranks, ndcg, recall
from vetrina.scenarios.recommend.online import Recommend, best

_K = 10
_CANDIDATES = 150
_MOST_UNITS = 4_000
_REPEATS = 0.05
START = {"popular": 0.1, "repeat": 1.0, "lately": 0.1, "item_knn": 0.2, "item_cf": 0.1, "sasrec": 0.2}


def tune(
    folder: Path, evidence: Evidence, progress: Progress | None = None
) -> tuple[dict[str, dict[str, float]], dict]:
    """Weights of the blends ``home`` (all products) and ``discover`` (only products new to the user)."""
    opened = Recommend(folder)
    if evidence.targets is None or not evidence.targets.user:
        return default_weights(opened.models), {}
    share = repeat_share(opened, evidence)
    weights, notes = {}, {"options": {"exclude_seen": share < _REPEATS}, "repeat_share": share}
    for name in ("home", "discover"):
        units = _units(opened, evidence, new_only=name == "discover", progress=progress or Silent())
        if units is None:
            weights[name] = default_weights(opened.models)[name]
            continue
        chosen, value = blend.choose(units, [START[m] for m in opened.models])
        weights[name] = dict(zip(opened.models, chosen, strict=True))
        single = {
            m: float(blend.ndcg_of(units, row).mean()) for m, row in zip(opened.models, _eye(opened), strict=True)
        }
        notes[name] = {"validation_ndcg": value, "alone": single}
    return weights, notes


def repeat_share(opened: Recommend, evidence: Evidence) -> float:
    """Share of what known users took next that they had taken before: high for groceries, near nothing for sofas."""
    again = total = 0
    for _, history, items, _ in _users(opened, evidence, new_only=False):
        if len(history.counts_items):
            again += int(np.isin(items, history.counts_items).sum())
            total += len(items)
    return again / total if total else 0.0


def default_weights(models: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """What is used where nothing can be measured: behaviour first, popularity to break ties."""
    home = {m: START[m] for m in models}
    return {"home": home, "discover": home | {"repeat": 0.0, "lately": 0.0}}


def evaluate(
    folder: Path,
    evidence: Evidence,
    *,
    only: str | None = None,
    metric: str = "NDCG@10",
    new_only: bool = False,
    allowed: np.ndarray | None = None,
) -> Scores:
    """NDCG@10 or Recall@20 of each user; ``only`` one model, ``new_only`` products new to the user.

    Targets outside the catalogue count as missed. ``allowed`` (items,) bool narrows what is ranked.
    Slices: users known to the bundle or not.
    """
    opened = Recommend(folder)
    blend_name = "discover" if new_only else "home"
    weights = opened.blend(blend_name) if only is None else np.array([m == only for m in opened.models], np.float32)
    names, values, known = [], [], []
    for name, history, items, relevant in _users(opened, evidence, new_only):
        scores, _ = opened.ranked(history, weights)
        if allowed is not None:
            scores[~allowed] = -np.inf
        if new_only:
            scores[history.counts_items] = -np.inf
        ranks = half_ranks(scores, items)
        ranks = ranks[np.isfinite(scores[items])]
        names.append(name)
        known.append(name in opened.histories)
        values.append(ndcg(ranks, relevant, _K) if metric == "NDCG@10" else recall(ranks, relevant, 20))
    flags = np.array(known, bool)
    slices = {"returning users": flags, "new users": ~flags}
    return Scores(metric, tuple(names), np.array(values), slices)


def requests(folder: Path, most: int) -> list[tuple[str | None, float]]:
    """Users whom this folder knows, and nobody, each at the moment where its past ends."""
    histories = Recommend(folder).histories
    return [(name, histories.until) for name in (None, *histories.users(most))]


def answers(folder: Path, asked: list[tuple[str | None, float]]) -> list[list[str]]:
    """The first ten product ids for each."""
    opened = Recommend(folder)
    weights = opened.blend("home")
    found = []
    for name, now in asked:
        scores, _ = opened.ranked(opened.histories.of(name, (), now), weights)
        found.append([str(opened.shelf.ids[i]) for i in best(scores, _K)])
    return found


def _users(opened: Recommend, evidence: Evidence, new_only: bool) -> Iterator[tuple[str, History, Ints, int]]:
    """Each user with history, targets in the catalogue, and the number of all targets."""
    targets = evidence.targets
    if targets is None:
        return
    for name, items in list(zip(targets.user, targets.items, strict=True))[:_MOST_UNITS]:
        history = opened.histories.of(name, (), evidence.now)
        wanted = items[~np.isin(items, history.counts_items)] if new_only else items
        if len(wanted):
            yield name, history, wanted[wanted >= 0], len(wanted)


def _units(opened: Recommend, evidence: Evidence, new_only: bool, progress: Progress) -> blend.Units | None:
    features: list[Floats] = []
    gains: list[Floats] = []
    ideal: list[float] = []
    total = len(evidence.targets.user) if evidence.targets else 0
    with progress.step(f"blend: {'discover' if new_only else 'home'}", total) as step:
        for _, history, items, relevant in _users(opened, evidence, new_only):
            components = opened.components(history)
            if new_only:
                components[:, history.counts_items] = 0.0
            candidates = _candidates(components)
            features.append(components[:, candidates].T)
            gains.append(np.isin(candidates, items).astype(np.float32))
            ideal.append(float((1.0 / np.log2(2.0 + np.arange(min(_K, relevant)))).sum()))
            step.advance()
    return blend.stack(features, gains, ideal) if features else None


def _candidates(components: Floats) -> Ints:
    k = min(_CANDIDATES, components.shape[1])
    return np.unique(np.argpartition(-components, k - 1, axis=1)[:, :k]).astype(np.int32)


def _eye(opened: Recommend) -> Floats:
    return np.eye(len(opened.models), dtype=np.float32)
