"""One narrow network in place of several, taught what their mean says; int8 weights and embeddings."""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from vetrina.core.compression import Form, Lesson
from vetrina.core.errors import Unfit
from vetrina.core.tables import Rows
from vetrina.layers.onnx_export import quantize_dynamic
from vetrina.models.dcn.online import Classifier
from vetrina.models.dcn.train import learnt, save

FORMS = (*(Form(("distil", "int8"), {"width": width}, seconds=20.0) for width in (0.25, 0.5)), Form(("int8",)))
_MIXED, _SWAPPED, _MOST = 3, 0.25, 100_000


def compress(source: Path, into: Path, form: Form, lesson: Lesson) -> None:
    """The same names in about a quarter of the bytes, or in a tenth; ``width`` is that of the inner layers."""
    if "distil" not in form.steps:
        quantize_dynamic(source / "network.onnx", into / "network.onnx")
        return
    rows, plan = lesson.past.rows, lesson.plan
    if rows is None:
        raise Unfit("there are no rows to teach a student with")
    told = _told(Classifier(source), mixed(rows, plan.seed))
    networks, _ = learnt(told, plan, lesson.progress, 1, round(1 / form.settings["width"]))
    with tempfile.TemporaryDirectory() as scratch:
        whole = Path(scratch) / "network.onnx"
        save(networks, told, whole)
        quantize_dynamic(whole, into / "network.onnx")


def mixed(rows: Rows, seed: int) -> Rows:
    """The rows, and others with some values of other rows: a teacher can be asked about what never happened, too.

    Buciluă et al. 2006, "Model compression", who move values between neighbours; here any two rows.
    """
    rng, n = np.random.default_rng(seed), len(rows)
    own = np.tile(np.arange(n), min(_MIXED, max(0, _MOST // max(1, n))))
    other = rng.integers(0, n, len(own))
    ids = np.where(rng.random((len(own), rows.ids.shape[1])) < _SWAPPED, rows.ids[other], rows.ids[own])
    dense = np.where(rng.random((len(own), rows.dense.shape[1])) < _SWAPPED, rows.dense[other], rows.dense[own])
    label = np.concatenate([rows.label, rows.label[own]])
    second = None if rows.second is None else np.concatenate([rows.second, rows.second[own]])
    dense, ids = np.concatenate([rows.dense, dense]), np.concatenate([rows.ids, ids])
    return replace(rows, dense=dense, ids=ids, label=label, second=second, raw={}, asked=None, before=None)


def _told(teacher: Classifier, rows: Rows) -> Rows:
    """The rows with what the teacher expects for labels: cross-entropy with chances is KL divergence and a constant."""
    expected = teacher.expected(rows)
    second = None if rows.second is None else expected * teacher.second(rows)
    return replace(rows, label=expected, second=second)
