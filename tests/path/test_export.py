"""A version for devices: what the student says, what its file says, and what is refused. Even and odd taste are apart."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from vetrina import Shop
from vetrina.bundle.onnx_session import open_session
from vetrina.cli.main import cli
from vetrina.core.errors import BadInput, NotFound, UnusableVariant
from vetrina.core.progress import NoProgress
from vetrina.core.protocols import History
from vetrina.edge import formats, repeat_consumption_distillation, student_onnx_export
from vetrina.edge.distillation import TeacherScores
from vetrina.edge.export import ExportResult, export_student
from vetrina.edge.sequence_distillation import (
    MAX_SEQUENCE_LENGTH,
    continue_sequences,
    drop_items,
    student_inputs,
)
from vetrina.edge.sequence_student import InitialEmbeddings, SequenceStudent, initial_embeddings
from vetrina.scenarios.recommend.online import Recommender

pytestmark = pytest.mark.deploy


def export(shop: Shop, version: str, file_format: str, into: Path, max_products: int, python: str = "") -> ExportResult:
    return export_student(shop.folder, version, file_format, into, max_products, NoProgress(), python)


@pytest.fixture(scope="module")
def shop(pristine, tmp_path_factory) -> Shop:
    return Shop(shutil.copytree(pristine[0], tmp_path_factory.mktemp("exporting") / "shop"))


@pytest.fixture(scope="module")
def version(shop) -> str:
    return shop.shop_context.registry.champion("recommend")[0]


@pytest.fixture(scope="module")
def written(shop, version, tmp_path_factory):
    """Users are shown what they had, so that the student reads habits."""
    into = tmp_path_factory.mktemp("device") / "shelf"
    return into, export(shop, version, "onnx", into, 40)


@pytest.fixture(scope="module")
def read_in_order(shop, version, tmp_path_factory):
    """As if users were shown new products alone: the student reads the last ones."""
    into = tmp_path_factory.mktemp("device") / "shelf"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Recommender, "is_excluding_seen", lambda self, name: True)
        return into, export(shop, version, "onnx", into, 40)


@pytest.mark.parametrize("kind", ["written", "read_in_order"])
def test_the_student_keeps_the_taste_of_what_was_clicked(kind, request):
    into, exported = request.getfixturevalue(kind)
    shelf = json.loads((into / "shelf.json").read_bytes())
    ids = [product["id"] for product in shelf["products"]]
    assert exported.products == len(ids) == 40
    assert exported.agreement > exported.popular + 0.1
    assert exported.bytes < 2_000_000
    number = np.array([int("".join(filter(str.isdigit, i))) for i in ids])
    student = open_session(into / "student.onnx")
    assert shelf["reads"] == {"written": "facts", "read_in_order": "gaps"}[kind]

    def asked(items: np.ndarray) -> dict[str, np.ndarray]:
        if shelf["reads"] == "gaps":
            return {"items": items[None].astype(np.int64), "gaps": np.full((1, len(items)), 17)}
        now = 1_000.0 * len(items)
        taken = History(items, np.arange(len(items)) * 1_000.0, np.sort(items), np.ones(len(items)), now)
        own, facts = repeat_consumption_distillation.repeat_consumption_features(taken)
        return {"items": own[None].astype(np.int64), "facts": facts[None]}

    for start in (0, 1):
        clicked = np.flatnonzero(number % 2 == start)[:6].astype(np.int32)
        scores = student.run(None, asked(clicked))[0][0]
        best = np.argsort(-scores)[:8]
        assert (number[best] % 2 == start).mean() >= 0.75
    # Nothing clicked yet is an answer, too.
    empty = {"items": np.full((1, 1), -1)}
    width = next(i.shape[2] for i in student.get_inputs() if i.name == "facts") if shelf["reads"] == "facts" else 0
    other = {"facts": np.zeros((1, 1, width), np.float32)} if width else {"gaps": np.zeros((1, 1), np.int64)}
    assert np.isfinite(student.run(None, empty | other)[0]).all()
    assert (into / "index.html").exists()


def untaught(products: int, width: int, seed: int = 2) -> SequenceStudent:
    """A student that says something of everything."""
    rng = np.random.default_rng(seed)
    queries, answers = rng.normal(0, 0.3, (2, products, width)).astype(np.float32)
    near = np.argsort(rng.random((products, products)), axis=1)[:, :7].astype(np.int32)
    return SequenceStudent(
        InitialEmbeddings(queries, answers, near, rng.normal(0, 3, near.shape).astype(np.float32)), MAX_SEQUENCE_LENGTH
    ).eval()


def test_a_student_begins_with_what_its_teacher_says_after_each_product_alone():
    rng = np.random.default_rng(4)
    products = 40
    scores = rng.random((products, products)).astype(np.float32) ** 8
    order = np.argsort(-scores, axis=1)[:, :30].astype(np.int32)
    teacher_scores = TeacherScores(order, np.take_along_axis(scores, order, 1), True)
    student = SequenceStudent(
        initial_embeddings(teacher_scores, products, 8, np.arange(products)), MAX_SEQUENCE_LENGTH
    ).eval()
    with torch.no_grad():
        student_scores = student(torch.arange(products)[:, None], torch.zeros(products, 1, dtype=torch.int64)).numpy()
    best = np.argsort(-scores, axis=1)[:, :10]
    wanted, given = (
        np.take_along_axis(s, best, 1) for s in (scores / scores.max(1, keepdims=True), student_scores / 20.0)
    )
    np.testing.assert_allclose(given, wanted, atol=1e-3)


def test_histories_that_go_on_mostly_follow_what_is_recommended():
    sequences = [(np.arange(25), np.arange(25.0)), (np.array([4]), np.zeros(1))] * 200
    teacher_scores = TeacherScores(
        np.tile(np.array([[90, 91, 92]], np.int32), (400, 1)), np.tile(np.float32([[1, 0.9, 0]]), (400, 1)), True
    )
    continued = continue_sequences(sequences, teacher_scores, 100, 1)
    assert {len(own) for own, _ in continued} == {MAX_SEQUENCE_LENGTH, 2}
    assert all((np.diff(times) > 0).all() for _, times in continued)
    thin = [drop_items((np.arange(20), np.arange(20.0)), np.random.default_rng(n)) for n in range(200)]
    assert all(own[-1] == 19 and len(own) == len(times) for own, times in thin)
    assert 0.7 < np.mean([len(own) for own, _ in thin]) / 20 < 0.83
    new = np.array([own[-1] for own, _ in continued])
    assert 0.6 < np.isin(new, [90, 91, 92]).mean() < 0.85
    assert (new == 90).sum() > (new == 91).sum() > (new == 92).sum()
    assert len(np.unique(new)) > 50


def test_every_width_of_numbers_says_nearly_the_same(tmp_path):
    student = untaught(500, 32)
    scores_by_width = {}
    given = {"items": np.array([[3, 1, 4]]), "gaps": np.array([[2, 0, 5]])}
    for bits in (32, 8, 4):
        student_onnx_export.write(student, tmp_path / f"{bits}.onnx", bits)
        opened = open_session(tmp_path / f"{bits}.onnx")
        scores_by_width[bits] = opened.run(None, given)[0][0]
    with torch.no_grad():
        wanted = student(*(torch.from_numpy(given[name]) for name in ("items", "gaps")))[0].numpy()
    np.testing.assert_allclose(scores_by_width[32], wanted, rtol=1e-3, atol=1e-3)
    assert np.corrcoef(scores_by_width[32], scores_by_width[8])[0, 1] > 0.999
    assert np.corrcoef(scores_by_width[32], scores_by_width[4])[0, 1] > 0.97
    sizes = [(tmp_path / f"{bits}.onnx").stat().st_size for bits in (4, 8, 32)]
    assert sizes == sorted(sizes)
    with pytest.raises(UnusableVariant, match="no multiple"):
        student_onnx_export.write(untaught(50, 10), tmp_path / "x.onnx", 4)
    student.output_layer.bias.data[3] = float("nan")
    with pytest.raises(UnusableVariant, match="not finite"):
        student_onnx_export.write(student, tmp_path / "x.onnx", 8)
    assert not (tmp_path / "x.onnx").exists()


def test_bad_wishes_are_refused_in_one_line_and_leave_nothing(shop, version, written, tmp_path, monkeypatch):
    into = tmp_path / "out"
    with pytest.raises(BadInput, match="is there already"):
        export(shop, version, "onnx", written[0], 40)
    with pytest.raises(NotFound):
        export(shop, "recommend-000000000000", "onnx", into, 40)
    with pytest.raises(BadInput, match="is of search"):
        export(shop, shop.shop_context.registry.champion("search")[0], "onnx", into, 40)
    with pytest.raises(BadInput, match="is unknown"):
        export(shop, version, "tflite", into, 40)
    monkeypatch.delenv("VETRINA_EDGE_PYTHON", raising=False)
    with pytest.raises(BadInput, match="needs a Python that has its tools"):
        export(shop, version, "litert", into, 40)
    with pytest.raises(BadInput, match="has no executorch"):
        export(shop, version, "executorch", into, 40, sys.executable)
    monkeypatch.setattr("vetrina.edge.export.MAX_EXPORT_BYTES", 20_000)
    with pytest.raises(BadInput, match=r"ask for \d+ or fewer"):
        export(shop, version, "onnx", into, 40)
    # What can be known beforehand is said before anything is taught.
    monkeypatch.setattr("vetrina.edge.export.distil_student", None)
    monkeypatch.setattr("vetrina.edge.export.MAX_EXPORT_BYTES", 4_000)
    with pytest.raises(BadInput, match=r"40 products: take 0.0 MB.*ask for 27 or fewer"):
        export(shop, version, "onnx", into, 50_000)
    with pytest.raises(BadInput, match="needs a Python"):
        export(shop, version, "executorch", into, 40)
    assert list(tmp_path.iterdir()) == []
    ran = CliRunner().invoke(cli, ["--shop-dir", str(shop.folder.root), "export", version, "--format", "coreml"])
    assert ran.exit_code == 2


def test_a_file_that_answers_otherwise_is_not_handed_out(tmp_path, monkeypatch):
    student = untaught(60, 16)
    inputs = student_inputs([(np.array([1, 2, 3]), np.arange(3.0)), (np.array([7]), np.zeros(1))])
    assert formats.write_student(student, "onnx", tmp_path, inputs).error < 0.05
    wrong = untaught(60, 16, seed=3)
    right = student_onnx_export.write
    monkeypatch.setattr(student_onnx_export, "write", lambda _, file, bits: right(wrong, file, bits))
    (tmp_path / "other").mkdir()
    with pytest.raises(UnusableVariant, match="of the spread of its scores"):
        formats.write_student(student, "onnx", tmp_path / "other", inputs)
    assert list((tmp_path / "other").iterdir()) == []


def tools(form: str) -> str:
    """A Python with the tools of a format, as the environment names it: VETRINA_LITERT_PYTHON, VETRINA_EXECUTORCH_PYTHON."""
    import os

    return os.environ.get(f"VETRINA_{form.upper()}_PYTHON", "")


@pytest.mark.parametrize("reads", ["facts", "gaps"])
@pytest.mark.parametrize("form", ["litert", "executorch"])
def test_other_runtimes_say_what_the_network_says(shop, version, tmp_path, form, reads, monkeypatch):
    if not tools(form):
        pytest.skip(f"VETRINA_{form.upper()}_PYTHON names no Python with its tools")
    if reads == "gaps":
        monkeypatch.setattr(Recommender, "is_excluding_seen", lambda self, name: True)
    exported = export(shop, version, form, tmp_path / form, 40, tools(form))
    assert exported.error < 1e-3
    assert {f.name for f in Path(exported.folder).iterdir()} == {formats.FORMAT_FILES[form], "shelf.json"}
