"""Large models learn, small ones serve: students of a blend and of the encoder of queries, beside float in ONNX Runtime.

``beauty`` is Amazon Beauty, leave-one-out as ``benchmarks.sequences`` has it, 4,000 test users; ``households`` Complete Journey
as ``benchmarks.next_purchase`` has it, all products. The teacher is the blend that validation chose, with its trees where they
are kept. Beside it the same blend in the forms that the stage of compression chose on validation, and a student: of Beauty a
network of width 128 that learns what the blend says of histories cut anywhere, gone on and thinned, of households one of width 32
that reads how often and how lately they took what, now and at earlier moments; both before the test products were taken. NDCG@10.
Of Beauty the count model of the blend alone, too, with fewer neighbours.
``text`` is Chorus electronics, 81 judged queries, the default weights of search (which were chosen with the teacher's vectors).
The reference is MiniLM in float; products keep its int8 vectors in all rows.
CPU-microseconds of one request: one thread, median of five rounds that take turns. 95 % paired bootstrap over users or queries.
"""

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.data import folder
from benchmarks.next_purchase import END as UNTIL
from benchmarks.next_purchase import TEST, VALIDATION
from benchmarks.product_search import Judged, _with, scores_of, search_files
from benchmarks.record import note, record, row
from benchmarks.sequences import DAY, END, files
from vetrina import Shop
from vetrina.bundle import zstd_file
from vetrina.bundle.dense.read import DenseIndex
from vetrina.bundle.onnx_session import open_session
from vetrina.bundle.sparse_rows.write import write_compressed_rows
from vetrina.compress import compress
from vetrina.core.compression import DistillationData
from vetrina.core.evaluation_data import EvaluationData
from vetrina.core.files import size_of
from vetrina.core.progress import NoProgress
from vetrina.core.protocols import History
from vetrina.core.training_data import Catalogue, TrainingData
from vetrina.core.training_plan import TrainingPlan
from vetrina.data import dataset
from vetrina.data.splits import JudgmentSplits
from vetrina.demo import write_input_files as grocer
from vetrina.edge import repeat_consumption_distillation, sequence_distillation, student_onnx_export
from vetrina.edge.blend_student import DistilledStudent, distil_student
from vetrina.edge.distillation import DistillationRequests
from vetrina.edge.repeat_student import RepeatStudent
from vetrina.evaluation.bootstrap import paired_difference
from vetrina.evaluation.ranking import mid_ranks, ndcg
from vetrina.features import histories
from vetrina.models.base import find_model
from vetrina.models.text import compress as text
from vetrina.models.text.online import INDEX_FILE, TextEncoder
from vetrina.models.text.pretrained import SentenceEncoder, locate_encoder
from vetrina.nn.onnx_export import export
from vetrina.scenarios.recommend.evaluate import evaluate
from vetrina.scenarios.recommend.evaluation_units import user_units
from vetrina.scenarios.recommend.online import Recommender
from vetrina.scenarios.recommend.scenario import RECIPE
from vetrina.scenarios.search.online import DEFAULT_WEIGHTS, Searcher
from vetrina.train import train

_USERS = 4_000
_ASKED = 400
_ROUNDS = 5
Judge = Callable[[Callable[[History], np.ndarray]], np.ndarray]
_MEANING = 200
# Columns of a product's vectors, and products of a user that a student looks at.
_BEAUTY = (128, sequence_distillation.MAX_SEQUENCE_LENGTH)
_HOUSEHOLD = (32, 640)
NAMES = ("beauty", "households", "text")


def main(names: Sequence[str] = NAMES) -> None:
    """One or all."""
    for name in names:
        with tempfile.TemporaryDirectory() as scratch:
            {"beauty": _beauty, "households": _households, "text": _text}[name](Path(scratch))


@dataclass(frozen=True)
class _Set:
    """A blend learnt before ``validation``, and what is asked of it at ``test``."""

    name: str
    catalogue: Catalogue
    past: Callable[[float], TrainingData]
    validation: EvaluationData
    test: EvaluationData
    new_only: bool


def _beauty(root: Path) -> None:
    products, events = files("amazon-beauty-5core", root)
    snapshot = Shop(root / "shop").ingest(products=[products], events=[events])
    catalogue = dataset.catalogue(snapshot)
    last = END.timestamp()
    assert catalogue is not None

    def evidence(since: float) -> EvaluationData:
        return EvaluationData(targets=dataset.targets(snapshot, catalogue, since, since + DAY), now=since)

    def past(until: float) -> TrainingData:
        return TrainingData(catalogue, dataset.interactions(snapshot, catalogue, until), cache=root / "cache")

    of = _Set("beauty", catalogue, past, evidence(last - DAY), evidence(last), new_only=True)
    folder_, judged, requests = _behaviour(of, root, *_BEAUTY)
    knn = find_model("item_knn")
    counts = {"item_knn, float": knn.load(folder_ / "item_knn").score}
    sizes = {"item_knn, float": size_of(folder_ / "item_knn")}
    for keep in (1.0, 0.5, 0.2):
        into = root / f"kept{keep}"
        into.mkdir()
        write_compressed_rows(folder_ / "item_knn", into, keep)
        shutil.copy(folder_ / "item_knn/settings.json", into)
        name = f"item_knn, {keep:.0%} of neighbours, int8"
        counts[name], sizes[name] = knn.load(into).score, size_of(into)
    _table("beauty, counts alone", counts, sizes, judged, requests)


def _households(root: Path) -> None:
    source = grocer(root / "source")
    snapshot = Shop(root / "shop").ingest(products=source.products, events=source.events)
    catalogue = dataset.catalogue(snapshot)
    assert catalogue is not None

    def evidence(since: float, until: float) -> EvaluationData:
        return EvaluationData(targets=dataset.targets(snapshot, catalogue, since, until), now=since)

    def past(until: float) -> TrainingData:
        return TrainingData(catalogue, dataset.interactions(snapshot, catalogue, until), cache=root / "cache")

    of = _Set("households", catalogue, past, evidence(VALIDATION, TEST), evidence(TEST, UNTIL), new_only=False)
    _behaviour(of, root, *_HOUSEHOLD)


def _behaviour(of: _Set, root: Path, width: int, length: int) -> tuple[Path, Judge, list[History]]:
    """Prints the table; the float folder with the histories of the test, how scores are judged, and what is asked."""
    plan = TrainingPlan(answers=100_000, threads=1)
    learnt = of.past(of.validation.now)
    fitted, _ = train(RECIPE, learnt, "pinned", "fit", plan, root / "w/fit", NoProgress(), validation=of.validation)
    small = compress(fitted, learnt, plan, root / "w/small", NoProgress(), validation=of.validation)
    note(f"{of.name}: {small.kept_variants}")
    begun = time.process_time()
    distilled = distil_student(fitted.folder, len(of.catalogue), width, plan, NoProgress(), length)
    note(
        f"student trained in {time.process_time() - begun:.0f} CPU-s, {distilled.agreement:.3f} of the first ten as before"
    )
    for folder_ in (fitted.folder, small.folder):
        shutil.rmtree(folder_ / "histories")
        histories.write(of.past(of.test.now).interactions, folder_ / "histories")
    opened = Recommender(fitted.folder)
    less = Recommender(small.folder)
    blend = opened.blend_weights("home")
    units = list(user_units(opened.histories, of.test, new_items_only=of.new_only, max_users=_USERS))

    def judged(score: Callable[[History], np.ndarray]) -> np.ndarray:
        values = []
        for unit in units:
            allowed = opened.allowed_items("home", unit.history, exclude_seen=of.new_only)
            scores = np.where(allowed, score(unit.history), -np.inf)
            ranks = mid_ranks(scores, unit.items)
            values.append(ndcg(ranks[np.isfinite(scores[unit.items])], unit.n_relevant, 10))
        return np.array(values)

    whole: dict[str, Callable[[History], np.ndarray]] = {
        "blend, float": lambda h: opened.ranking_scores(h, "home")[0],
        "blend, forms": lambda h: less.ranking_scores(h, "home")[0],
    }
    sizes = {
        name: sum(size_of(folder_ / model) for model in blend)
        for name, folder_ in (("blend, float", fitted.folder), ("blend, forms", small.folder))
    }
    for bits in (32, 8, 4):
        file = root / f"{bits}.onnx"
        student_onnx_export.write(distilled.student, file, bits)
        name = f"student, {'float' if bits == 32 else f'int{bits}'}"
        whole[name], sizes[name] = _by_student(file, distilled, len(of.catalogue)), file.stat().st_size
    requests = [u.history for u in units]
    _table(f"{of.name}, {' + '.join(m for m in blend if blend[m] > 1e-3)}", whole, sizes, judged, requests)
    stated = evaluate(fitted.folder, of.test, new_items_only=of.new_only, max_units=_USERS).values.mean()
    note(f"the blend by evaluate(): {stated:.4f}")
    return fitted.folder, judged, requests


def _by_student(file: Path, distilled: DistilledStudent, products: int) -> Callable[[History], np.ndarray]:
    net = open_session(file)
    place = np.full(products, -1)
    place[distilled.catalogue_rows] = np.arange(len(distilled.catalogue_rows))
    length = distilled.held_out_requests.items.shape[1]

    def requests(history: History) -> DistillationRequests:
        if isinstance(distilled.student, RepeatStudent):
            return repeat_consumption_distillation.student_inputs(
                [repeat_consumption_distillation.repeat_consumption_features(history)], place, length
            )
        own = place[history.items]
        there = np.flatnonzero(own >= 0)[-length:]
        return sequence_distillation.student_inputs([(own[there], history.times[there])], length)

    def score(history: History) -> np.ndarray:
        given = requests(history).batch(np.zeros(1, np.intp))
        scores = np.full(products, -np.inf, np.float32)
        scores[distilled.catalogue_rows] = net.run(None, dict(zip(distilled.student.INPUTS, given, strict=True)))[0][0]
        return scores

    return score


def _text(root: Path) -> None:
    source = folder("chorus-electronics")
    products, judgments = search_files(source, root)
    shop = Shop(root / "shop")
    shop.ingest(products=[products], judgments=[judgments])
    assert shop.fit("search")["search"] is not None
    learnt = shop.shop_context.folder.work / "search" / "served"  # no form taken
    served = _with(DEFAULT_WEIGHTS, learnt, root / "plain")
    (root / "cache").mkdir()
    splits = JudgmentSplits(shop.ingest(), {})
    judged: Judged = {
        q: j
        for half in (splits._judgments.first, splits._judgments.second)
        if half
        for q, j in half.by_query().items()
        if (j[1] > 0).any()
    }
    catalogue = dataset.catalogue(shop.ingest())
    network = SentenceEncoder(locate_encoder("")).eval()
    tokens = torch.ones(2, 7, dtype=torch.int64)
    float_ = shutil.copytree(served / "text", root / "float")
    zstd_file.compressed_path(float_ / "encoder.onnx").unlink()
    free = {0: {0: "batch", 1: "length"}, 1: {0: "batch", 1: "length"}}
    export(network, (tokens, torch.ones_like(tokens)), ("tokens", "mask"), ("vector",), free, float_ / "encoder.onnx")
    begun = time.process_time()
    forms = {"student, int8": text.VARIANTS[0]}
    for form in forms.values():
        (root / form.name).mkdir()
        lesson = DistillationData(lambda: TrainingData(catalogue, cache=root / "cache"), TrainingPlan(), NoProgress())
        text.compress(served / "text", root / form.name, form, lesson)
    note(f"student trained in {time.process_time() - begun:.0f} CPU-s")
    folders = {"MiniLM, float": float_, "MiniLM, int8": served / "text", "student, int8": root / text.VARIANTS[0].name}
    encoders = {name: TextEncoder(where) for name, where in folders.items()}
    sizes = {name: len(zstd_file.read(where / "encoder.onnx")) for name, where in folders.items()}
    opened = Searcher(served)

    usual = opened._text.encode_query

    def ranked(encode: Callable[[str], Any]) -> np.ndarray:
        opened._text.encode_query = encode
        return scores_of(judged, opened.rank)[0]

    _table("chorus", {n: e.encode_query for n, e in encoders.items()}, sizes, ranked, list(judged))
    opened._text.encode_query = usual
    small = root / text.VARIANTS[0].name / INDEX_FILE
    opened_ = {"8 bits": DenseIndex(served / "text" / INDEX_FILE), text.VARIANTS[0].name: DenseIndex(small)}
    vectors = {query: encoders["MiniLM, int8"].encode_query(query) for query in judged}

    def nearest(index: DenseIndex) -> Callable[[str], Any]:
        """Finds texts, and compares a page's candidates."""
        return lambda query: index.vectors(index.nearest(vectors[query], _MEANING)[0])

    ways = {name: nearest(index) for name, index in opened_.items()}
    index_of = {id(way): opened_[name] for name, way in ways.items()}

    def by_index(way: Callable[[str], Any]) -> np.ndarray:
        opened._text._index = index_of[id(way)]
        return scores_of(judged, opened.rank)[0]

    sizes = dict(zip(opened_, ((served / "text" / INDEX_FILE).stat().st_size, small.stat().st_size), strict=True))
    _table("chorus, texts", ways, sizes, by_index, list(judged))


def _table(
    of: str,
    forms: Mapping[str, Callable[[Any], Any]],
    sizes: Mapping[str, int],
    judged: Callable[[Callable[[Any], Any]], np.ndarray],
    requests: Sequence[Any],
) -> None:
    """The first form is the reference."""
    values = {name: judged(form) for name, form in forms.items()}
    work = _work(forms, requests[:_ASKED])
    first = next(iter(forms))
    for name in forms:
        lost = paired_difference(values[name], values[first])
        mean = float(values[first].mean())
        loss = f"{lost.point / mean:+.2%} [{lost.low / mean:+.2%}, {lost.high / mean:+.2%}]"
        figure = (
            f"{sizes[name] / 1e6:.2f} MB ({sizes[first] / sizes[name]:.1f} x), {work[name]:.0f} CPU-us "
            f"({work[first] / work[name]:.1f} x), NDCG@10 {values[name].mean():.4f} ({loss})"
        )
        row(f"{of}: {name}", figure)


def _work(forms: Mapping[str, Callable[[Any], Any]], requests: Sequence[Any]) -> dict[str, float]:
    rounds: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(_ROUNDS):
        for name, form in forms.items():
            begun = time.process_time()
            for one in requests:
                form(one)
            rounds[name].append(1e6 * (time.process_time() - begun) / len(requests))
    return {name: float(np.median(taken)) for name, taken in rounds.items()}


if __name__ == "__main__":
    record("students", __doc__, lambda: main(sys.argv[1:] or NAMES), sys.argv[1:])
