"""A version for devices: what the student says, what its file says, and what is refused. Even and odd taste are apart."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from vetrina import Shop
from vetrina.cli import cli
from vetrina.core.errors import BadInput, NotFound, Unfit
from vetrina.core.onnx_session import session
from vetrina.layers import student_file
from vetrina.layers.sequence_student import SequenceStudent, Told
from vetrina.pipeline.export import export
from vetrina.scenarios.recommend.student import LAST, longer, requests_of
from vetrina.targets import edge


@pytest.fixture(scope="module")
def shop(pristine, tmp_path_factory) -> Shop:
    return Shop(shutil.copytree(pristine[0], tmp_path_factory.mktemp("exporting") / "shop"))


@pytest.fixture(scope="module")
def version(shop) -> str:
    return shop.workshop.registry.champion("recommend")[0]


@pytest.fixture(scope="module")
def written(shop, version, tmp_path_factory):
    into = tmp_path_factory.mktemp("device") / "shelf"
    return into, export(shop, version, "onnx", into, 40)


def test_the_student_keeps_the_taste_of_what_was_clicked(written):
    into, found = written
    shelf = json.loads((into / "shelf.json").read_bytes())
    ids = [product["id"] for product in shelf["products"]]
    assert found.products == len(ids) == 40
    assert found.agreement > found.popular + 0.1
    assert found.bytes < 2_000_000
    number = np.array([int("".join(filter(str.isdigit, i))) for i in ids])
    student = session(into / "student.onnx")
    for start in (0, 1):
        clicked = np.flatnonzero(number % 2 == start)[:6]
        items, gaps = clicked[None].astype(np.int64), np.full((1, 6), 17)
        scores = student.run(None, {"items": items, "gaps": gaps})[0][0]
        best = np.argsort(-scores)[:8]
        assert (number[best] % 2 == start).mean() >= 0.75
    # Nothing clicked yet is an answer, too.
    nothing = student.run(None, {"items": np.full((1, 1), -1), "gaps": np.zeros((1, 1), np.int64)})[0]
    assert np.isfinite(nothing).all()
    assert (into / "index.html").exists()


def test_histories_that_go_on_mostly_follow_what_is_recommended():
    asked = [(np.arange(25), np.arange(25.0)), (np.array([4]), np.zeros(1))] * 200
    told = Told(
        np.tile(np.array([[90, 91, 92]], np.int32), (400, 1)), np.tile(np.float32([[1, 0.9, 0]]), (400, 1)), True
    )
    found = longer(asked, told, 100, 1)
    assert {len(own) for own, _ in found} == {LAST, 2}
    assert all((np.diff(times) > 0).all() for _, times in found)
    new = np.array([own[-1] for own, _ in found])
    assert 0.6 < np.isin(new, [90, 91, 92]).mean() < 0.85
    assert (new == 90).sum() > (new == 91).sum() > (new == 92).sum()
    assert len(np.unique(new)) > 50


def test_every_width_of_numbers_says_nearly_the_same(tmp_path):
    rng = np.random.default_rng(2)
    asked, answers = (rng.normal(0, 0.3, (500, 32)).astype(np.float32) for _ in range(2))
    student, said = SequenceStudent(asked, answers, LAST).eval(), {}
    for bits in (32, 8, 4):
        student_file.write(student, tmp_path / f"{bits}.onnx", bits)
        opened = session(tmp_path / f"{bits}.onnx")
        given = {"items": np.array([[3, 1, 4]]), "gaps": np.array([[2, 0, 5]])}
        said[bits] = opened.run(None, given)[0][0]
    assert np.corrcoef(said[32], said[8])[0, 1] > 0.999
    assert np.corrcoef(said[32], said[4])[0, 1] > 0.97
    sizes = [(tmp_path / f"{bits}.onnx").stat().st_size for bits in (4, 8, 32)]
    assert sizes == sorted(sizes)
    with pytest.raises(Unfit, match="no multiple"):
        student_file.write(SequenceStudent(asked[:, :10], answers[:, :10], LAST), tmp_path / "x.onnx", 4)
    student.answers.bias.data[3] = float("nan")
    with pytest.raises(Unfit, match="no number"):
        student_file.write(student, tmp_path / "x.onnx", 8)
    assert not (tmp_path / "x.onnx").exists()


def test_bad_wishes_are_refused_in_one_line_and_leave_nothing(shop, version, written, tmp_path, monkeypatch):
    into = tmp_path / "out"
    with pytest.raises(BadInput, match="is there already"):
        export(shop, version, "onnx", written[0], 40)
    with pytest.raises(NotFound):
        export(shop, "recommend-000000000000", "onnx", into, 40)
    with pytest.raises(BadInput, match="is of search"):
        export(shop, shop.workshop.registry.champion("search")[0], "onnx", into, 40)
    with pytest.raises(BadInput, match="is unknown"):
        export(shop, version, "tflite", into, 40)
    monkeypatch.delenv("VETRINA_EDGE_PYTHON", raising=False)
    with pytest.raises(BadInput, match="needs a Python that has its tools"):
        export(shop, version, "litert", into, 40)
    with pytest.raises(BadInput, match="has no executorch"):
        export(shop, version, "executorch", into, 40, sys.executable)
    monkeypatch.setattr("vetrina.pipeline.export.BUDGET", 50_000)
    with pytest.raises(BadInput, match=r"ask for \d+ or fewer"):
        export(shop, version, "onnx", into, 40)
    # What can be known beforehand is said before anything is taught.
    monkeypatch.setattr("vetrina.pipeline.export.taught", None)
    monkeypatch.setattr("vetrina.pipeline.export.BUDGET", 4_000)
    with pytest.raises(BadInput, match=r"40 products: take 0.0 MB.*ask for 31 or fewer"):
        export(shop, version, "onnx", into, 50_000)
    with pytest.raises(BadInput, match="needs a Python"):
        export(shop, version, "executorch", into, 40)
    assert list(tmp_path.iterdir()) == []
    ran = CliRunner().invoke(cli, ["--shop-dir", str(shop.folder.root), "export", version, "--format", "coreml"])
    assert ran.exit_code == 2


def test_a_file_that_answers_otherwise_is_not_handed_out(tmp_path, monkeypatch):
    rng = np.random.default_rng(3)
    student = SequenceStudent(*rng.normal(0, 0.3, (2, 60, 16)).astype(np.float32), LAST).eval()
    asked = requests_of([(np.array([1, 2, 3]), np.arange(3.0)), (np.array([7]), np.zeros(1))])
    assert edge.write(student, "onnx", tmp_path, asked).error < 0.05
    wrong = SequenceStudent(*rng.normal(0, 0.3, (2, 60, 16)).astype(np.float32), LAST).eval()
    right = student_file.write
    monkeypatch.setattr(student_file, "write", lambda _, file, bits: right(wrong, file, bits))
    (tmp_path / "other").mkdir()
    with pytest.raises(Unfit, match="of the spread of its scores off"):
        edge.write(student, "onnx", tmp_path / "other", asked)
    assert list((tmp_path / "other").iterdir()) == []


def tools(form: str) -> str:
    """A Python with the tools of a format, as the environment names it: VETRINA_LITERT_PYTHON, VETRINA_EXECUTORCH_PYTHON."""
    import os

    return os.environ.get(f"VETRINA_{form.upper()}_PYTHON", "")


@pytest.mark.heavy
@pytest.mark.parametrize("form", ["litert", "executorch"])
def test_other_runtimes_say_what_the_network_says(shop, version, tmp_path, form):
    if not tools(form):
        pytest.skip(f"VETRINA_{form.upper()}_PYTHON names no Python with its tools")
    found = export(shop, version, form, tmp_path / form, 40, tools(form))
    assert found.error < 1e-3
    assert {f.name for f in Path(found.folder).iterdir()} == {edge.FORMATS[form], "shelf.json"}
