"""Chooses on judged queries what each signal weighs."""

from pathlib import Path

import numpy as np

from vetrina.core.progress import Progress, Silent, each
from vetrina.core.types import Evidence, Floats
from vetrina.metrics import blend
from vetrina.scenarios.search.online import SIGNALS, Search

# Where nothing can be tuned: words and meaning decide, what sells orders like products. Picked by looking at a few weights of
# meaning on Chorus electronics (NDCG@10 .768 against .721 of words alone, so a little flattering).
DEFAULT = {"bm25": 1.0, "text": 2.5, "popular": 0.3, "personal": 0.2}
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
