"""Ray: a cluster of two processes computes what the local engine computes, also where one of them is killed."""

import importlib.util
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import psutil
import pytest
import shops

from vetrina import Shop
from vetrina.api.batch import rank_file
from vetrina.core.errors import BadInput
from vetrina.core.evaluation_data import EvaluationData
from vetrina.core.labelled_tables import LabelledTable
from vetrina.core.progress import NoProgress
from vetrina.core.training_data import Catalogue, Interactions, TrainingData
from vetrina.core.training_plan import Compute, TrainingPlan
from vetrina.engines import Engine, find_engine
from vetrina.engines.local import LocalEngine
from vetrina.models.image.category_training import extract_features
from vetrina.models.image.network import small_cnn
from vetrina.models.sasrec.train import fit as fit_sasrec
from vetrina.models.text.online import TextEncoder
from vetrina.models.text.pretrained import locate_encoder
from vetrina.models.text.product_vectors import encode_with_cache, write_pretrained_encoder
from vetrina.scenarios.predict.scenario import RECIPE
from vetrina.scenarios.recommend.command import USERS
from vetrina.train import train

pytestmark = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore"),  # Ray warns of its own settings
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="pip install 'vetrina[ray]'"),
]
os.environ["RAY_AUTH_MODE"] = "disabled"

WORKERS = 2
EXCLUDED = '["gru", "ease", "graph_filter", "sessions", "fusion", "mlp", "dcn"]'
SETTINGS = f"""
[train]
threads = 1
exclude_models = {EXCLUDED}
[gate]
latency_ms = 1e6
"""


@pytest.fixture(scope="module")
def compute(tmp_path_factory: pytest.TempPathFactory) -> Compute:
    return Compute("ray", WORKERS, folder=str(tmp_path_factory.mktemp("ray")))


@pytest.fixture(scope="module")
def engine(compute: Compute) -> Engine:
    found = find_engine(compute, threads=1)
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the workers cannot import this file
    return found


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shop with products and purchases, nothing released."""
    folder = tmp_path_factory.mktemp("ingested")
    files = shops.checkerboard(folder)
    (folder / "shop").mkdir()
    (folder / "shop/vetrina.toml").write_text(SETTINGS)
    shop = Shop(folder / "shop")
    shop.ingest(products=[files["products"]], events=[files["events"]])
    shop.shop_context.engine.dispose()
    return folder / "shop"


def past(users: int = 40, items: int = 30) -> TrainingData:
    """Users who go round the catalogue."""
    rng = np.random.default_rng(1)
    user = np.repeat(np.arange(users), 12).astype(np.int32)
    item = ((np.tile(np.arange(12), users) + rng.integers(0, items, users)[user]) % items).astype(np.int32)
    time_of_event = 86_400.0 * np.tile(np.arange(12), users) + user
    order = np.argsort(time_of_event, kind="stable")
    names = np.array([f"u{n:03d}" for n in range(users)])
    weight = np.ones(len(user), np.float32)
    events = Interactions(names, user[order], item[order], time_of_event[order], weight, 2e6)
    ids = np.array([f"p{n:03d}" for n in range(items)])
    blank = ("",) * items
    unknown = np.full(items, np.nan)
    return TrainingData(Catalogue(ids, blank, blank, blank, blank, blank, unknown, unknown, unknown), events)


def kill_a_worker(folder: Path, stop: threading.Event, killed: list[int]) -> None:
    """Kill one process of the first training that has kept a checkpoint in a folder."""
    while not stop.is_set() and not killed:
        if any(folder.glob("*/*/checkpoint*/state.pt")):
            workers = [
                process
                for process in psutil.Process().children(recursive=True)
                if process.name().startswith("ray::RayTrain")
            ]
            if workers:
                killed.append(workers[-1].pid)
                os.kill(workers[-1].pid, signal.SIGKILL)
        time.sleep(0.02)


def fit_and_load(plan: TrainingPlan, into: Path) -> tuple[tuple[float, ...], np.ndarray]:
    """The held-out NDCG of each epoch, and the trained item vectors."""
    into.mkdir()
    notes = fit_sasrec(past(), plan, into, NoProgress())
    return notes.validation_curve, np.load(into / "table.npy")


def test_two_workers_train_what_one_process_trains(compute: Compute, tmp_path: Path):
    """Nothing is dropped, so that only the order of sums differs."""
    plan = TrainingPlan(threads=1, settings={"sasrec": {"epochs": 3, "dropout": 0.0}})
    local_curve, local = fit_and_load(plan, tmp_path / "local")
    ray_curve, by_ray = fit_and_load(replace(plan, compute=compute), tmp_path / "ray")
    assert ray_curve == pytest.approx(local_curve, abs=1e-3)
    assert by_ray == pytest.approx(local, abs=1e-4)
    assert np.abs(local).max() > 0.01


def test_a_killed_worker_costs_time_and_changes_no_bit(compute: Compute, tmp_path: Path):
    plan = TrainingPlan(threads=1, compute=compute, settings={"sasrec": {"epochs": 40, "stop": 40, "dropout": 0.2}})
    _, undisturbed = fit_and_load(plan, tmp_path / "undisturbed")
    stop = threading.Event()
    killed: list[int] = []
    killer = threading.Thread(target=kill_a_worker, args=(Path(compute.folder), stop, killed))
    killer.start()
    try:
        _, disturbed = fit_and_load(plan, tmp_path / "disturbed")
    finally:
        stop.set()
        killer.join()
    assert len(killed) == 1
    assert np.array_equal(disturbed, undisturbed)


def test_a_cluster_of_this_machine_listens_on_loopback_only(engine: Engine):
    assert engine.n_workers == WORKERS
    listening = set()
    for process in psutil.Process().children(recursive=True):
        for connection in process.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr:
                listening.add(connection.laddr.ip)
    assert listening
    assert {address.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}


def double_or_die(marker: Path, number: int) -> int:
    """Twice the number; the process that is asked for three first is killed."""
    if number == 3 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return 2 * number


def count_or_die(marker: Path, number: int) -> Iterator[int]:
    """The numbers up to a number; the process that comes to three first is killed."""
    for value in range(number):
        yield double_or_die(marker, value)


def test_lost_batches_and_tasks_are_computed_again(engine: Engine, tmp_path: Path):
    assert list(engine.map(partial(double_or_die, tmp_path / "a"), range(6))) == [0, 2, 4, 6, 8, 10]
    start = engine.start_on_workers(partial(count_or_die, tmp_path / "b"))
    streams = [start(5), start(2)]
    assert [list(stream) for stream in streams] == [[0, 2, 4, 6, 8], [0, 2]]


def refuse(number: int) -> int:
    raise BadInput(str(number), "is no number to double", "give another")


def test_an_error_of_a_worker_is_the_error_of_the_driver(engine: Engine):
    with pytest.raises(BadInput, match="1: is no number to double; give another"):
        list(engine.map(refuse, [1]))


def test_texts_and_images_get_the_same_vectors(engine: Engine, tmp_path: Path):
    texts = [f"{colour} {kind} number {n}" for n in range(8) for colour in shops.COLOURS for kind in shops.KINDS]
    folder = tmp_path / "encoder"
    folder.mkdir()
    write_pretrained_encoder(folder, locate_encoder(""), tmp_path, NoProgress())
    encoder = TextEncoder(folder)
    local = encode_with_cache(texts, encoder, tmp_path / "local.npz", LocalEngine(), NoProgress())
    by_ray = encode_with_cache(texts, encoder, tmp_path / "ray.npz", engine, NoProgress())
    assert by_ray == pytest.approx(local, abs=1e-5)
    pixels = np.random.default_rng(2).integers(0, 256, (130, 32, 32, 3), np.uint8)
    backbone = small_cnn()
    assert extract_features(backbone, pixels, engine) == pytest.approx(extract_features(backbone, pixels), abs=1e-5)


def test_a_study_makes_the_same_trials(compute: Compute, tmp_path: Path):
    """The first ten proposals of a study depend on no result."""
    rng = np.random.default_rng(7)
    x = rng.normal(size=(900, 2))
    label = (rng.random(900) < np.where(x[:, 0] * x[:, 1] > 0, 0.95, 0.05)).astype(np.float64)
    table = LabelledTable({"x": x[:, 0], "y": x[:, 1]}, label)
    validation = EvaluationData(table=table.take(np.arange(600, 900)))
    plan = TrainingPlan(
        threads=1,
        without=("mlp", "dcn", "tree", "logistic"),
        folds=2,
        trials={"boosted": 8},
        settings={"boosted": {"columns": 0.1}},
    )
    reports = []
    for name, its_compute in (("local", Compute()), ("ray", compute)):
        data = TrainingData(table=table.take(np.arange(600)))
        its_plan = replace(plan, compute=its_compute)
        into = tmp_path / name / "fit"
        _, result = train(RECIPE, data, "d", "fit", its_plan, into, NoProgress(), validation=validation)
        reports.append(result.report["search"]["boosted"])
    assert reports[1] == reports[0]
    assert reports[0]["trials"] == 8


def test_a_run_and_its_batch_answers(ingested: Path, tmp_path: Path):
    """A run by Ray, with a worker killed in the middle, ends with the verdict of a local run and gives the same answers."""
    local = Shop(shutil.copytree(ingested, tmp_path / "local"))
    released_locally = local.fit("recommend")["recommend"]
    by_ray = Shop(shutil.copytree(ingested, tmp_path / "by-ray"))
    stop = threading.Event()
    killed: list[int] = []
    folder = by_ray.folder.work / "ray"
    killer = threading.Thread(target=kill_a_worker, args=(folder, stop, killed))
    killer.start()
    try:
        released_by_ray = by_ray.fit("recommend", engine="ray")["recommend"]
    finally:
        stop.set()
        killer.join()
    assert len(killed) == 1
    assert released_locally is not None
    assert released_by_ray is not None
    assert released_by_ray.outcome == released_locally.outcome == "promoted"
    assert not list(folder.iterdir())
    record = by_ray.shop_context.registry.get_version(by_ray.champion("recommend"))
    assert record.training.tuning.report["plan"]["compute"] == {"engine": "ray", "device": "auto"}

    interval = local.evaluate("recommend")
    assert interval.low <= by_ray.evaluate("recommend").point <= interval.high

    users = tmp_path / "users.csv"
    users.write_text("user_id\n" + "".join(f"u{n:03d}\n" for n in range(60)) + "nobody\n")
    answers = []
    for engine_name in ("local", "ray"):
        out = tmp_path / f"{engine_name}.csv"
        rank_file(by_ray, "recommend", USERS, users, out, NoProgress(), {"limit": 5}, engine_name)
        answers.append(pl.read_csv(out))
    assert answers[0].equals(answers[1])
    assert answers[0].height == 61 * 5
