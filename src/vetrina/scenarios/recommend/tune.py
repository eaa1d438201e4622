"""Chooses on validation: the weights of each blend, whether trees order its best candidates anew, and what is shown again."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vetrina.core.progress import Progress, Silent
from vetrina.core.types import Evidence, Floats, Ints, Plan
from vetrina.metrics import blend
from vetrina.metrics.bootstrap import paired
from vetrina.scenarios.recommend import units
from vetrina.scenarios.recommend.features import names
from vetrina.scenarios.recommend.online import Recommend
from vetrina.scenarios.recommend.units import Unit

START = {
    "popular": 0.1,
    "repeat": 1.0,
    "lately": 0.1,
    "item_knn": 0.2,
    "sessions": 0.1,
    "graph_filter": 0.1,
    "ease": 0.1,
    "friends": 0.1,
    "sasrec": 0.2,
    "gru": 0.1,
}
_START = 0.1  # of a model that has no better one
_REPEATS = 0.05
_MOST_USERS, _MOST_VISITS, _MOST_FOR_WEIGHTS, _LEAST_UNITS, _LEAST_FOR_TREES = 3_000, 12_000, 3_000, 50, 500
_OPINION = 150  # candidates that weights are chosen on: the best of each model
_K, _LEVELS = 10, 20


def tune(
    folder: Path, evidence: Evidence, plan: Plan, progress: Progress | None = None
) -> tuple[dict[str, dict[str, float]], dict[str, Any]]:
    """Weights of ``home`` (all products), ``discover`` (only products new to the user) and ``session`` (nobody knows who);
    where friends speak for people, of ``arriving`` (somebody new who has looked at nothing yet).

    Writes ``trees/<blend>.onnx`` where trees were shown to order better than the weights alone, on lists that they had not seen.
    """
    opened, progress = Recommend(folder), progress or Silent()
    usual = default_weights(opened.models)
    if evidence.targets is None or not evidence.targets.user:
        return usual, {}
    known = [u for u in units.users(opened.histories, evidence, new_only=False, most=_MOST_USERS) if u.known]
    visits = units.visits(opened.histories, evidence, each=3, most=_MOST_VISITS if not known else _MOST_USERS)
    share, again = repeat_share(known), _again(visits)
    exclude = share < _REPEATS
    opened.exclude_seen, opened.session_repeats = exclude, again >= _REPEATS
    asked: dict[str, Sequence[Unit]] = {"home": known, "discover": known, "session": visits}
    if "arriving" in usual:
        asked["arriving"] = units.arrivals(opened.histories, evidence, most=_MOST_USERS)
    ranked: dict[str, list[str]] = {}  # the models whose opinions a blend's trees have learnt from
    options = {"exclude_seen": exclude, "session_repeats": again >= _REPEATS, "ranked": ranked}
    weights: dict[str, dict[str, float]] = {}
    notes: dict[str, Any] = {"options": options, "repeat_share": share, "repeat_share_in_visits": again}
    new_only = {n: n == "discover" or (n == "home" and exclude) or (n == "session" and again < _REPEATS) for n in asked}
    same = () if exclude else ("discover",)
    stacks = _stacked(opened, known, {n: new_only[n] for n in ("home", *same)}, progress)
    for name in asked:
        if name == "discover" and exclude and "home" in weights:
            weights[name], notes[name] = weights["home"], notes.get("home", {})
            continue
        if name not in stacks:
            stacks |= _stacked(opened, asked[name], {name: new_only[name]}, progress)
        found = _chosen(opened, name, stacks.pop(name))
        if found is None:
            weights[name] = weights.get("home", usual[name]) if name == "session" else usual[name]
            continue
        weights[name], notes[name] = found
        opened.weights[name] = weights[name]
        if trees := _trees(opened, name, asked[name], new_only[name], folder, progress):
            notes[name] |= trees
            if trees["ranked"]:
                ranked[name] = list(opened.blend(name))
    if exclude and "home" in ranked:
        ranked["discover"] = ranked["home"]
        (folder / "trees/discover.onnx").write_bytes((folder / "trees/home.onnx").read_bytes())
    return weights, notes


def default_weights(models: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """What is used where nothing can be measured: behaviour first, popularity to break ties."""
    home = {m: START.get(m, _START) for m in models}
    new = home | {m: 0.0 for m in ("repeat", "lately") if m in models}
    usual = {"home": home, "discover": new, "session": new}
    return usual | (
        {"arriving": {m: float(m in ("popular", "friends")) for m in models}} if "friends" in models else {}
    )


def repeat_share(known: Sequence[Unit]) -> float:
    """Share of what known users took next that they had taken before: high for groceries, near nothing for sofas."""
    again = sum(int(np.isin(u.items, u.history.counts_items).sum()) for u in known if len(u.history.counts_items))
    total = sum(len(u.items) for u in known if len(u.history.counts_items))
    return again / total if total else 0.0


def _again(visits: Sequence[Unit]) -> float:
    """Share of visits whose next product was in them before."""
    return float(np.mean([np.isin(u.items, u.history.items).any() for u in visits])) if visits else 0.0


def _stacked(
    opened: Recommend, asked: Sequence[Unit], blends: Mapping[str, bool], progress: Progress
) -> dict[str, blend.Units | None]:
    """Of each blend (True: only what is new to the user) the best candidates of each model; None where few have any to find.

    Blends that ask for the same units have them scored once.
    """
    found: dict[str, list[tuple[Floats, Floats, float]]] = {name: [] for name in blends}
    some = list(asked)[:: max(1, len(asked) // _MOST_FOR_WEIGHTS)][:_MOST_FOR_WEIGHTS]
    with progress.step(f"blend: {', '.join(blends)}", len(some)) as step:
        for unit in some:
            step.advance()
            wanted = {name: _wanted(unit, new_only) for name, new_only in blends.items()}
            if not any(ideal for _, ideal in wanted.values()):
                continue
            components = opened.components(unit.history)
            for name in sorted(blends, key=lambda name: blends[name]):  # what leaves out comes last
                items, ideal = wanted[name]
                if blends[name]:
                    components[:, unit.history.counts_items] = 0.0
                if ideal:
                    candidates = _best_of_each(components)
                    gains = np.isin(candidates, items).astype(np.float32)
                    found[name].append((components[:, candidates].T, gains, ideal))
    stacks = {name: [list(column) for column in zip(*rows, strict=True)] for name, rows in found.items()}
    return {name: blend.stack(*stacks[name]) if len(found[name]) >= _LEAST_UNITS else None for name in blends}


def _chosen(opened: Recommend, name: str, units: blend.Units | None) -> tuple[dict[str, float], dict[str, Any]] | None:
    """Weights by NDCG@10 over the best candidates of each model, and what they and each model alone reach."""
    if units is None:
        return None
    chosen, value = blend.choose(units, [default_weights(opened.models)[name][m] for m in opened.models])
    alone = {m: float(units.ndcg(row).mean()) for m, row in zip(opened.models, _eye(opened), strict=True)}
    notes = {"validation_ndcg": value, "alone": alone, "units": len(units)}
    return dict(zip(opened.models, chosen, strict=True)), notes


def _trees(
    opened: Recommend, name: str, asked: Sequence[Unit], new_only: bool, folder: Path, progress: Progress
) -> dict[str, Any] | None:
    """Fits trees over the best candidates of the blend and keeps them if they order lists that they have not seen better."""
    from vetrina.layers import lambdamart, tree_ensemble

    rows: list[Floats] = []
    gains: list[NDArray[np.int32]] = []
    ideals: list[float] = []
    blended: list[Floats] = []
    for unit, candidates, shown, score in _lists(opened, name, asked, new_only, progress):
        items, ideal = _wanted(unit, new_only)
        rows.append(shown)
        gains.append(np.isin(candidates, items).astype(np.int32))
        ideals.append(ideal)
        blended.append(score)
    if sum(bool(g.any()) for g in gains) < _LEAST_FOR_TREES:
        return None
    sizes = np.array([len(g) for g in gains], np.int64)
    lists = lambdamart.Lists(np.concatenate(rows), np.concatenate(gains), sizes)
    with progress.step(f"trees: {name}", 1) as step:
        learnt = lambdamart.fit(lists, _LEVELS, seed=42, threads=2)
        step.advance()
    before, after = (
        _ndcg(np.split(s, np.cumsum(sizes)[:-1]), gains, ideals) for s in (np.concatenate(blended), learnt.crossed)
    )
    gain = paired(after, before)
    kept = gain.low > 0
    if kept:
        (folder / "trees").mkdir(exist_ok=True)
        tree_ensemble.save(learnt.trees, folder / f"trees/{name}.onnx")
    return {
        "ranked": kept,
        "trees": learnt.trees.num_trees(),
        "crossed_ndcg": float(after.mean()),
        "blend_ndcg": float(before.mean()),
        "gain": [gain.low, gain.point, gain.high],
        "features": tree_ensemble.names_of(learnt.trees, names(tuple(opened.blend(name)))),
    }


def _lists(
    opened: Recommend, name: str, asked: Sequence[Unit], new_only: bool, progress: Progress
) -> Iterator[tuple[Unit, Ints, Floats, Floats]]:
    """Of each unit with something to find: the candidates, their features and their blended scores."""
    with progress.step(f"candidates: {name}", len(asked)) as step:
        for unit in asked:
            step.advance()
            if not _wanted(unit, new_only)[1]:
                continue
            allowed = opened.may_show(name, unit.history, leave_out=new_only)
            candidates, components, score = opened.candidates(unit.history, name, allowed)
            yield unit, candidates, opened.features(unit.history, candidates, components, score), score


def _wanted(unit: Unit, new_only: bool) -> tuple[Ints, float]:
    """What is to be found, and the best DCG@10; 0 where there is nothing."""
    items, relevant = unit.items, unit.relevant
    if new_only:
        again = np.isin(items, unit.history.counts_items)
        items, relevant = items[~again], relevant - int(again.sum())
    return items, float((1.0 / np.log2(2.0 + np.arange(min(_K, relevant)))).sum())


def _ndcg(scores: Sequence[Floats], gains: Sequence[NDArray[np.int32]], ideals: Sequence[float]) -> NDArray[np.float64]:
    discount = 1.0 / np.log2(2.0 + np.arange(_K))
    tops = (gain[np.argsort(-score, kind="stable")[:_K]] for score, gain in zip(scores, gains, strict=True))
    return np.array(
        [float((top * discount[: len(top)]).sum()) / ideal for top, ideal in zip(tops, ideals, strict=True)]
    )


def _best_of_each(components: Floats) -> Ints:
    """What a model says nothing of is nobody's candidate."""
    found = [np.flatnonzero(row) for row in components]
    for model, items in enumerate(found):
        if len(items) > _OPINION:
            found[model] = items[np.argpartition(-components[model, items], _OPINION - 1)[:_OPINION]]
    return np.unique(np.concatenate(found)).astype(np.int32)


def _eye(opened: Recommend) -> Floats:
    return np.eye(len(opened.models), dtype=np.float32)
