"""A bundle made small for one processor is asked anew on another."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
import shops
import torch

from vetrina import Shop
from vetrina.core import cpu_features
from vetrina.core.compression import CompressionVariant
from vetrina.core.errors import UnusableVariant
from vetrina.core.protocols import Context
from vetrina.core.requests import Request
from vetrina.gate.probe import _NoChanges
from vetrina.nn import onnx_export
from vetrina.scenarios import samples
from vetrina.scenarios.agreement import ReferenceAnswers, compare_answers
from vetrina.scenarios.recommend import evaluate
from vetrina.scenarios.search import evaluate as of_search

INTEL = "processor: 0\nflags\t\t: fpu sse2 avx2 avx512f avx512_vnni\n"
OLDER = "processor: 0\nflags\t\t: fpu sse2 avx2\n"
ARM = "processor: 0\nFeatures\t: fp asimd asimddp\n"


def test_processors_are_told_by_what_their_sums_hold(tmp_path: Path):
    features = {}
    for name, text in {"intel": INTEL, "older": OLDER, "arm": ARM}.items():
        (tmp_path / name).write_text(text)
        features[name] = cpu_features.cpu_description(tmp_path / name)
    assert features["intel"].endswith("avx2 avx512f avx512_vnni")
    assert {name: cpu_features.int8_sums_saturate(kind) for name, kind in features.items()} == {
        "intel": False,
        "older": True,
        "arm": False,
    }
    assert cpu_features.cpu_description(tmp_path / "nothing").split()[1:] == []


@pytest.mark.parametrize(("flags", "largest"), [(INTEL, 127), (OLDER, 64)])
def test_weights_keep_to_seven_bits_where_sums_saturate(tmp_path: Path, monkeypatch, flags: str, largest: int):
    (tmp_path / "cpuinfo").write_text(flags)
    kind = cpu_features.cpu_description(tmp_path / "cpuinfo")
    monkeypatch.setattr(cpu_features, "cpu_description", lambda: kind)
    network = torch.nn.Linear(32, 16).eval()
    onnx_export.export(network, (torch.zeros(2, 32),), ("x",), ("y",), {0: {0: "rows"}}, tmp_path / "float.onnx")
    onnx_export.quantize_dynamic(tmp_path / "float.onnx", tmp_path / "small.onnx")
    weights = [
        onnx.numpy_helper.to_array(t)
        for t in onnx.load(tmp_path / "small.onnx").graph.initializer
        if t.data_type == onnx.TensorProto.INT8 and len(t.dims) == 2
    ]
    assert len(weights) == 1
    assert largest - 1 <= np.abs(weights[0].astype(int)).max() <= largest


def test_answers_are_compared_by_what_is_in_them_by_order_and_by_score():
    usual = [{"a": 4.0, "b": 3.0, "c": 2.0}, {}, {"a": 1.0}]
    same = compare_answers(usual, usual)
    assert (same.units, same.share, same.correlation, same.max_error) == (2, 1.0, 1.0, 0.0)
    other = compare_answers([{"b": 4.0, "a": 3.0, "c": 2.0}, {"z": 1.0}, {"q": 1.0}], usual)
    assert other.share == pytest.approx(0.5)
    assert other.correlation == pytest.approx(0.5)
    assert other.max_error == pytest.approx(0.25)
    assert other.mean_error == pytest.approx((0.25 + 0.25 + 0.0) / 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("samples")
    shop = Shop(root / "shop")
    shop.ingest(table=shops.table(root), label="label")
    released = shop.fit("predict", budget_minutes=0.1)["predict"]
    assert released is not None
    shop.shop_context.engine.dispose()
    return shop.shop_context.version_folder(released.version)


def test_a_file_that_answers_otherwise_on_another_processor_is_refused(folder: Path):
    sampled = samples.sample_answers("predict", folder)
    samples.verify_samples("predict", folder, None)
    samples.verify_samples("predict", folder, sampled)
    samples.verify_samples("predict", folder, sampled, processor_kind="another one")
    wrong = [{str(k == "False"): 1.0 for k in answer} for answer in sampled.answers]
    # On the same processor there is nothing to doubt.
    samples.verify_samples("predict", folder, replace(sampled, answers=wrong))
    with pytest.raises(
        UnusableVariant, match=r"returns 0% of the answers that it returned on .* compressed for another processor"
    ):
        samples.verify_samples("predict", folder, replace(sampled, answers=wrong), processor_kind="another one")


def test_a_server_that_verifies_loads_no_training_library(folder: Path):
    script = (
        "import sys; from pathlib import Path; from vetrina.scenarios import samples; import msgspec; "
        "from vetrina.bundle.manifest import record_from_json; "
        f"folder = Path({str(folder)!r}); notes = msgspec.json.decode((folder / 'manifest.json').read_bytes())['notes']; "
        "samples.verify_samples('predict', folder, record_from_json(notes).samples, 'another one'); "
        "print([m for m in ('torch', 'polars', 'pyarrow', 'pandas', 'onnx', 'scipy', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_the_pages_that_no_label_stands_for_are_asked_as_a_page_asks(pristine, tmp_path: Path):
    shop = Shop(shutil.copytree(pristine[0], tmp_path / "shop"))
    version = shop.shop_context.registry.champion("recommend")[0]
    folder = shop.shop_context.version_folder(version)
    opened = shop.load("recommend")
    requests = evaluate.sample_unlabelled_requests(folder, 9)
    assert [where for *_, where in requests] == ["product", "cart"] * 3 + ["discover"] * 3
    assert len({page for *_, page, _ in requests}) == 7
    for (user, _, page, where), products in zip(requests, evaluate.answer_requests(folder, requests), strict=True):
        request = Request(user=user, product_ids=(page,) if page else (), placement=where, limit=10)
        items = opened.answer(request, Context(_NoChanges(), _NoChanges(), opened.histories.until)).items
        assert [item.product_id for item in items] == list(products)
        assert page not in products
    like = ReferenceAnswers("recommend", folder, 40)
    assert (like.compare_folder(folder).share, like.compare_folder(folder).unjudged) == (1.0, 1.0)


def test_search_is_asked_as_known_shoppers_ask(pristine, tmp_path: Path):
    shop = Shop(shutil.copytree(pristine[0], tmp_path / "shop"))
    folder = shop.shop_context.version_folder(shop.shop_context.registry.champion("search")[0])
    opened = shop.load("search")
    queries = of_search.sample_requests(folder, 100)
    assert len(queries) == len(set(queries)), "products with the same first words are one query"
    requests = of_search.sample_unlabelled_requests(folder, 5)
    assert len({user for _, user in requests}) == 5
    for (query, user), products in zip(requests, of_search.answer_requests(folder, requests), strict=True):
        request = Request(query=query, user=user, personalise=True, limit=10)
        items = opened.answer(request, Context(_NoChanges(), _NoChanges(), opened.histories.until)).items
        assert [item.product_id for item in items] == list(products)


def test_forms_of_a_search_that_nobody_judged_are_those_that_answer_as_before(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("vetrina.models.text.compress.MIN_PRODUCTS", 0)
    untimed = CompressionVariant(("distil", "int8"))  # within any budget
    monkeypatch.setattr("vetrina.models.text.compress.VARIANTS", (untimed,))
    files = shops.checkerboard(tmp_path)
    shop = Shop(shops.without_networks(tmp_path / "shop"))
    shop.ingest(products=[files["products"]], events=[files["events"]])
    shop.fit("search")
    version = shop.shop_context.registry.get_version(shop.shop_context.registry.champion("search")[0])
    tried = {trial.model: trial for trial in version.training.compression_trials}
    assert tried["text"].why.startswith("nothing is labelled")
    assert tried["text"].agreement > 0.5
    for trial in tried.values():
        assert trial.kept == (trial.agreement >= 0.95 and trial.bytes_after < trial.bytes_before)
    judged = msgspec.json.decode((tmp_path / "shop/bundles" / version.judged / "manifest.json").read_bytes())
    kept_variants = {name: trial.step for name, trial in tried.items() if trial.kept}
    assert judged["notes"]["kept"] == version.training.kept_variants == kept_variants
