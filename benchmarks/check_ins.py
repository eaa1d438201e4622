"""What else a user took, without any order: Gowalla's check-ins in the split of NGCF and LightGCN, through the Python API.

All lines of a user have one time and stand in an order drawn by chance, as lines of one moment do in a shop, so nothing can
look at an order and the networks of sequences are left out. Weights are chosen on one line in ten of each training list, held
out by chance (seed 42); then the models learn from all training lists. Recall@20 and NDCG@20 of the test lists, all 40,981
products ranked but those of the training list, ties at half rank, 95 % bootstrap over users.
"""

import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.data import folder
from benchmarks.record import note, record, row
from vetrina.core.evaluation_data import EvaluationData, Targets
from vetrina.core.progress import NoProgress
from vetrina.core.training_data import Catalogue, Interactions, TrainingData
from vetrina.core.training_plan import TrainingPlan
from vetrina.evaluation.bootstrap import mean_interval
from vetrina.scenarios.recommend.evaluate import evaluate
from vetrina.scenarios.recommend.scenario import RECIPE
from vetrina.train import train

REFERENCE = "LightGCN .1830/.1554, SimpleX .1872/.1557 (published, other machines); goal .195/.163"
_PLAN = TrainingPlan(without=("repeat", "lately", "sessions", "sasrec", "gru"))
_HELD_OUT = 0.1
_UNTIL = 1.0


def main(most: int = 10**9) -> None:
    """The blend, and each model that weighs something in it, on at most ``most`` users drawn by chance."""
    source = folder("gowalla-lightgcn")
    lists, test = (pl.read_parquet(source / f"{part}.parquet").sort("user_id") for part in ("train", "test"))
    user = np.repeat(np.arange(len(lists), dtype=np.int32), lists["item_ids"].list.len().to_numpy())
    item = lists["item_ids"].explode().to_numpy().astype(np.int32)
    rng = np.random.default_rng(42)
    item = item[np.lexsort((rng.random(len(item)), user))]  # the files sort each list by the number of the product
    is_held_out = rng.random(len(item)) < _HELD_OUT
    names = np.array([f"u{n:05d}" for n in range(len(lists))])
    products = _products(max(int(item.max()), int(test["item_ids"].explode().to_numpy().max())) + 1)

    def past(rows: np.ndarray, cache: Path) -> TrainingData:
        ones = np.ones(int(rows.sum()), np.float32)
        events = Interactions(names, user[rows], item[rows], np.zeros(len(ones)), ones, _UNTIL)
        return TrainingData(products, events, cache=cache)

    first = np.flatnonzero(np.r_[True, user[is_held_out][1:] != user[is_held_out][:-1]])
    wanted = Targets(tuple(names[user[is_held_out][first]].tolist()), tuple(np.split(item[is_held_out], first[1:])))
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        begun = time.perf_counter()
        worked = _cpu()
        evidence = EvaluationData(targets=wanted, now=_UNTIL)
        _, tuned = train(
            RECIPE,
            past(~is_held_out, root / "cache"),
            "pinned",
            "fit",
            _PLAN,
            root / "fit",
            NoProgress(),
            validation=evidence,
        )
        everything = past(np.ones(len(item), bool), root / "cache")
        judged, _ = train(
            RECIPE,
            everything,
            "pinned",
            "judged",
            _PLAN,
            root / "judged",
            NoProgress(),
            tuning_result=tuned,
            trees_source=root / "fit",
        )
        note(f"{_cpu() - worked:.0f} CPU-s, {time.perf_counter() - begun:.0f} s; {tuned.weights['discover']}")
        test_rows = np.sort(np.random.default_rng(42).permutation(len(test))[:most])
        lists_of = test["item_ids"].to_list()
        users = tuple(names[test["user_id"].to_numpy()[test_rows]].tolist())
        final = EvaluationData(
            targets=Targets(users, tuple(np.array(lists_of[n], np.int32) for n in test_rows)), now=_UNTIL
        )
        for model in (*(m for m, weight in tuned.weights["discover"].items() if weight), None):
            figures = [
                mean_interval(
                    evaluate(
                        judged.folder, final, only_model=model, metric=m, new_items_only=True, max_units=len(test_rows)
                    ).values
                )
                for m in ("Recall@20", "NDCG@20")
            ]
            text = " / ".join(f"{f.point:.4f} [{f.low:.4f}, {f.high:.4f}]" for f in figures)
            row(
                f"{model or 'blend'}, {len(test_rows)} users", f"Recall@20 / NDCG@20 {text}", "" if model else REFERENCE
            )


def _products(count: int) -> Catalogue:
    empty = ("",) * count
    nothing = np.full(count, np.nan)
    ids = np.array([f"p{n:05d}" for n in range(count)])
    return Catalogue(ids, empty, empty, empty, empty, empty, nothing, nothing, nothing)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    record("check_ins", __doc__, lambda: main(*map(int, sys.argv[1:])), sys.argv[1:])
