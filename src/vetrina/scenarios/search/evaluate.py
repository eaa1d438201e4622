"""Judges search on graded pairs: full retrieval, NDCG@10 with gain 2**grade - 1, unjudged products gain nothing."""

from pathlib import Path

import numpy as np

from vetrina.core.progress import Progress, Silent, each
from vetrina.core.types import Evidence, Floats, Scores
from vetrina.metrics import blend
from vetrina.metrics.ranking import graded_ndcg
from vetrina.scenarios.search.online import SIGNALS, Search

# Where nothing can be tuned: words decide, meaning helps, what sells orders like products. Picked by
# looking at a few weights on Chorus electronics (NDCG@10 .7275 against .7207 of words alone, so a little flattering) and at
# what a grocer's queries find.
DEFAULT = {"bm25": 1.0, "text": 0.5, "popular": 0.3, "personal": 0.1}
_K = 10


def tune(
    folder: Path, evidence: Evidence, progress: Progress | None = None
) -> tuple[dict[str, dict[str, float]], dict]:
    """Weights of the four signals; without judged queries the default."""
    queries = evidence.judgments.by_query() if evidence.judgments else {}
    if not queries:
        return {"search": dict(DEFAULT)}, {}
    opened = Search(folder)
    nobody = opened.histories.of(None, (), evidence.now)
    features: list[Floats] = []
    gains: list[Floats] = []
    ideal: list[float] = []
    for query, (judged, grades) in each(progress or Silent(), "search: blend", list(queries.items())):
        items, signals = opened.signals(query, nobody)
        gain = dict(zip(judged.tolist(), (np.exp2(grades) - 1).tolist(), strict=True))
        best = np.sort(np.exp2(grades) - 1)[::-1][:_K]
        features.append(signals)
        gains.append(np.array([gain.get(int(i), 0.0) for i in items], np.float32))
        ideal.append(float((best / np.log2(2.0 + np.arange(len(best)))).sum()))
    units = blend.stack(features, gains, ideal)
    chosen, value = blend.choose(units, [DEFAULT[s] for s in SIGNALS])
    alone = {
        s: float(blend.ndcg_of(units, row).mean()) for s, row in zip(SIGNALS, np.eye(4, dtype=np.float32), strict=True)
    }
    weights = dict(zip(SIGNALS, chosen, strict=True)) | {"personal": DEFAULT["personal"]}
    return {"search": weights}, {"validation_ndcg": value, "alone": alone, "queries": len(queries)}


def default_weights(models: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """What is used where nothing can be measured."""
    return {"search": dict(DEFAULT)}


def requests(folder: Path, most: int) -> list[str]:
    """The first three words of products' titles, evenly spread over the catalogue."""
    shelf = Search(folder).shelf
    titles = (shelf.title(i).split()[:3] for i in range(0, len(shelf), max(1, -(-len(shelf) // most))))
    return [" ".join(words) for words in titles if words]


def answers(folder: Path, asked: list[str]) -> list[list[str]]:
    """The first ten product ids for each query, for a shopper nobody knows."""
    opened = Search(folder)
    nobody = opened.histories.of(None, (), opened.histories.until)
    found = []
    for query in asked:
        items, signals = opened.signals(query, nobody)
        ranked = items[np.lexsort((items, -(signals @ opened.weights)))]
        found.append([str(opened.shelf.ids[i]) for i in ranked[:_K]])
    return found


def evaluate(folder: Path, evidence: Evidence, *, only: str | None = None) -> Scores:
    """NDCG@10 of each judged query with a relevant product, for a shopper nobody knows."""
    opened = Search(folder)
    weights = opened.weights if only is None else np.array([s == only for s in SIGNALS], np.float32)
    nobody = opened.histories.of(None, (), evidence.now)
    names, values, lengths = [], [], []
    for query, (judged, grades) in (evidence.judgments.by_query() if evidence.judgments else {}).items():
        if not (grades > 0).any():
            continue
        items, signals = opened.signals(query, nobody)
        ranked = items[np.lexsort((items, -(signals @ weights)))]
        names.append(query)
        lengths.append(len(query.split()))
        values.append(graded_ndcg(ranked, judged, grades, _K))
    single = np.array(lengths) == 1
    return Scores("NDCG@10", tuple(names), np.array(values), {"one-word queries": single, "longer queries": ~single})
