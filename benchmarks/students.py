"""Large models learn, small ones serve: students of a blend and of the encoder of queries, beside float in ONNX Runtime.

Behaviour: Amazon Beauty, leave-one-out as ``benchmarks.sequences`` has it. The teacher is the blend that validation chose; the
student (one network, width 128) learns what the blend says after histories cut anywhere, before the test products were taken.
NDCG@10 over all products on at most 4,000 test users. Beside it the count model of the blend alone, pruned and in int8.
Text: Chorus electronics, 81 judged queries, the default weights of search (which were chosen with the teacher's vectors). The
reference is MiniLM in float; products keep its int8 vectors in all rows.
CPU-microseconds of one request: one thread, median of five rounds that take turns. 95 % paired bootstrap over users or queries.
"""

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.data import folder, row
from benchmarks.product_search import Judged, _with, scores_of, search_files
from benchmarks.sequences import DAY, END, files
from vetrina import Shop
from vetrina.core import plugins
from vetrina.core.compression import Lesson
from vetrina.core.files import size_of
from vetrina.core.onnx_session import session
from vetrina.core.progress import Silent
from vetrina.core.protocols import History
from vetrina.core.types import Evidence, Past, Plan
from vetrina.features import histories
from vetrina.layers import student_file
from vetrina.layers.onnx_export import export
from vetrina.metrics.bootstrap import paired
from vetrina.metrics.ranking import half_ranks, ndcg
from vetrina.models.text import compress as text
from vetrina.models.text.online import Encoder
from vetrina.models.text.pretrained import Network, located
from vetrina.pipeline.compose import Held
from vetrina.retrieval import neighbours
from vetrina.retrieval.next_item import gaps
from vetrina.scenarios.recommend.evaluate import evaluate
from vetrina.scenarios.recommend.online import Recommend
from vetrina.scenarios.recommend.recipe import RECIPE
from vetrina.scenarios.recommend.student import LAST, taught
from vetrina.scenarios.recommend.units import users
from vetrina.scenarios.search.online import DEFAULT, Search
from vetrina.store import dataset
from vetrina.train import train

_WIDTH, _USERS, _ASKED, _ROUNDS = 128, 4_000, 400, 5


def main(names: Sequence[str] = ("behaviour", "text")) -> None:
    """One or both."""
    for name in names:
        with tempfile.TemporaryDirectory() as scratch:
            {"behaviour": _behaviour, "text": _text}[name](Path(scratch))


def _behaviour(root: Path) -> None:
    products, events = files("amazon-beauty-5core", root)
    snapshot = Shop(root / "shop").ingest(products=[products], events=[events])
    catalogue = dataset.catalogue(snapshot)
    assert catalogue is not None
    last = END.timestamp()

    def past(until: float) -> Past:
        return Past(catalogue, dataset.interactions(snapshot, catalogue, until))

    def evidence(since: float) -> Evidence:
        return Evidence(targets=dataset.targets(snapshot, catalogue, since, since + DAY), now=since)

    fitted, _ = train(
        RECIPE, past(last - DAY), "pinned", "fit", Plan(), root / "w/fit", Silent(), validation=evidence(last - DAY)
    )
    begun = time.process_time()
    found = taught(fitted.folder, len(catalogue), _WIDTH, Plan(), Silent())
    print(
        f"student taught in {time.process_time() - begun:.0f} CPU-s, {found.agreement:.3f} of the first ten as before"
    )
    histories.write(past(last).interactions, fitted.folder / "histories")
    opened = Recommend(fitted.folder)
    blend = opened.blend("home")
    units = list(users(opened.histories, evidence(last), new_only=True, most=_USERS))
    place = np.full(len(catalogue), -1)
    place[found.shelf] = np.arange(len(found.shelf))

    def judged(score: Callable[[History], np.ndarray]) -> np.ndarray:
        values = []
        for unit in units:
            allowed = opened.may_show("home", unit.history, leave_out=True)
            scores = np.where(allowed, score(unit.history), -np.inf)
            ranks = half_ranks(scores, unit.items)
            values.append(ndcg(ranks[np.isfinite(scores[unit.items])], unit.relevant, 10))
        return np.array(values)

    def student(file: Path) -> Callable[[History], np.ndarray]:
        net = session(file)

        def score(history: History) -> np.ndarray:
            own = place[history.items]
            there = np.flatnonzero(own >= 0)[-LAST:]
            apart = gaps(history.times[there], np.arange(len(there)) == 0)
            asked = {"items": own[there][::-1][None].astype(np.int64), "gaps": np.ascontiguousarray(apart[::-1])[None]}
            scores = np.full(len(place), -np.inf, np.float32)
            scores[found.shelf] = net.run(None, asked)[0][0]
            return scores

        return score

    whole: dict[str, Callable[[History], np.ndarray]] = {"blend, float": lambda h: opened.blended(h, blend)[0]}
    sizes = {"blend, float": sum(size_of(fitted.folder / model) for model in blend)}
    for bits in (32, 8, 4):
        file = root / f"{bits}.onnx"
        student_file.write(found.student, file, bits)
        name = f"student, {'float' if bits == 32 else f'int{bits}'}"
        whole[name], sizes[name] = student(file), file.stat().st_size
    _table(
        f"beauty, {' + '.join(m for m in blend if blend[m] > 1e-3)}", whole, sizes, judged, [u.history for u in units]
    )
    knn = plugins.part("models", "item_knn", "online")
    counts = {"item_knn, float": knn.open(fitted.folder / "item_knn").score}
    sizes = {"item_knn, float": size_of(fitted.folder / "item_knn")}
    for keep in (1.0, 0.5, 0.2):
        into = root / f"kept{keep}"
        into.mkdir()
        neighbours.pack(fitted.folder / "item_knn", into, keep)
        shutil.copy(fitted.folder / "item_knn/settings.json", into)
        name = f"item_knn, {keep:.0%} of neighbours, int8"
        counts[name], sizes[name] = knn.open(into).score, size_of(into)
    _table("beauty, counts alone", counts, sizes, judged, [u.history for u in units])
    stated = evaluate(fitted.folder, evidence(last), new_only=True, most=_USERS).values.mean()
    print(f"the blend by evaluate(): {stated:.4f}")


def _text(root: Path) -> None:
    source = folder("chorus-electronics")
    products, judgments = search_files(source, root)
    shop = Shop(root / "shop")
    shop.ingest(products=[products], judgments=[judgments])
    assert shop.fit("search")["search"] is not None
    shown = shop.workshop.registry.show(shop.workshop.registry.all()[0]["version"])
    served = _with(DEFAULT, shop.workshop.open_version(shown["version"]), root / "work/plain")
    (root / "cache").mkdir()
    held = Held(shop.ingest(), {}, "search")
    judged: Judged = {q: j for half in held._judgments if half for q, j in half.by_query().items() if (j[1] > 0).any()}
    catalogue = dataset.catalogue(shop.ingest())
    network, tokens = Network(located("")).eval(), torch.ones(2, 7, dtype=torch.int64)
    small, float_ = root / "small", shutil.copytree(served / "text", root / "float")
    free = {0: {0: "batch", 1: "length"}, 1: {0: "batch", 1: "length"}}
    export(network, (tokens, torch.ones_like(tokens)), ("tokens", "mask"), ("vector",), free, float_ / "encoder.onnx")
    small.mkdir()
    begun = time.process_time()
    text.compress(served / "text", small, text.FORMS[0], Lesson(lambda: Past(catalogue), Plan(), Silent()))
    print(f"student taught in {time.process_time() - begun:.0f} CPU-s")
    folders = {"MiniLM, float": float_, "MiniLM, int8": served / "text", "student, int8": small}
    encoders = {name: Encoder(where) for name, where in folders.items()}
    sizes = {name: (where / "encoder.onnx").stat().st_size for name, where in folders.items()}
    opened = Search(served)

    def ranked(encode: Callable[[str], Any]) -> np.ndarray:
        opened._text.encode = encode
        return scores_of(judged, opened.ranked)[0]

    _table("chorus", {n: e.query for n, e in encoders.items()}, sizes, ranked, list(judged))


def _table(
    of: str,
    forms: Mapping[str, Callable[[Any], Any]],
    sizes: Mapping[str, int],
    judged: Callable[[Callable[[Any], Any]], np.ndarray],
    asked: Sequence[Any],
) -> None:
    """The first form is the reference."""
    values = {name: judged(form) for name, form in forms.items()}
    work = _work(forms, asked[:_ASKED])
    first = next(iter(forms))
    for name in forms:
        lost = paired(values[name], values[first])
        mean = float(values[first].mean())
        loss = f"{lost.point / mean:+.2%} [{lost.low / mean:+.2%}, {lost.high / mean:+.2%}]"
        figure = (
            f"{sizes[name] / 1e6:.2f} MB ({sizes[first] / sizes[name]:.1f} x), {work[name]:.0f} CPU-us "
            f"({work[first] / work[name]:.1f} x), NDCG@10 {values[name].mean():.4f} ({loss})"
        )
        row(f"{of}: {name}", figure)


def _work(forms: Mapping[str, Callable[[Any], Any]], asked: Sequence[Any]) -> dict[str, float]:
    rounds: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(_ROUNDS):
        for name, form in forms.items():
            begun = time.process_time()
            for one in asked:
                form(one)
            rounds[name].append(1e6 * (time.process_time() - begun) / len(asked))
    return {name: float(np.median(taken)) for name, taken in rounds.items()}


if __name__ == "__main__":
    main(sys.argv[1:] or ("behaviour", "text"))
