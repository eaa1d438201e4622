"""A model of another framework through gate and release, and what is refused of it."""

import csv
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from vetrina import Shop
from vetrina.core.errors import BadInput

COLOURS = {"red": 1.0, "blue": -1.0}


def rows(seed: int, count: int = 1_200) -> tuple[np.ndarray, list[str], np.ndarray]:
    """Yes nearly always where both numbers lie on one side of nought: no linear model can tell."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 2)).astype(np.float32)
    colour = rng.choice(list(COLOURS), count).tolist()
    return x, colour, (rng.random(count) < np.where(x[:, 0] * x[:, 1] > 0, 0.97, 0.03)).astype(int)


def table(path: Path) -> Path:
    x, colour, label = rows(1)
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["x", "y", "colour", "label"])
        out.writerows(
            [f"{a:.5f}", f"{b:.5f}", c, y] for (a, b), c, y in zip(x.tolist(), colour, label.tolist(), strict=True)
        )
    return path


def shop(folder: Path, settings: str) -> Shop:
    """Only the baseline stands beside the model that is brought along."""
    (folder / "shop").mkdir()
    text = f'[train]\nexclude_models = ["mlp", "boosted", "dcn", "tree"]\n[predict]\n{settings}\n'
    (folder / "shop" / "vetrina.toml").write_text(text)
    made = Shop(folder / "shop")
    made.ingest(table=table(folder / "table.csv"))
    return made


def forest() -> RandomForestClassifier:
    x, _, label = rows(2, 4_000)
    return RandomForestClassifier(60, min_samples_leaf=20, random_state=1).fit(x, label)


def test_a_forest_of_scikit_learn_wins_and_is_served(tmp_path):
    made = shop(tmp_path, 'onnx = "forest.onnx"\nonnx_inputs = ["x", "y"]')
    model = to_onnx(forest(), initial_types=[("matrix", FloatTensorType([None, 2]))], options={"zipmap": False})
    (tmp_path / "shop" / "forest.onnx").write_bytes(model.SerializeToString())
    released = made.fit("predict")["predict"]
    assert released is not None
    version = made.shop_context.registry.get_version(released.version)
    assert released.outcome == "promoted"
    assert version.training.tuning.weights["predict"] == {"onnx": 1.0, "logistic": 0.0}
    probabilities = [
        a["probability"] for a in made.predict([[1.0, 1.0, "red"], [1.0, -1.0, "red"], {"x": -1, "y": -1}])
    ]
    assert probabilities[0] > 0.8
    assert probabilities[1] < 0.2
    assert probabilities[2] > 0.8
    np.testing.assert_allclose(
        probabilities[0], forest().predict_proba(np.array([[1.0, 1.0]], np.float32))[0, 1], atol=1e-4
    )


def test_inputs_may_be_columns_by_their_names_words_among_them(tmp_path):
    """Made by hand, node by node, as any framework would: 1 where x and y agree in sign; the colour is read and left aside."""
    made = shop(tmp_path, 'onnx = "model.onnx"')
    nodes = [
        helper.make_node("Mul", ["x", "y"], ["product"]),
        helper.make_node("Mul", ["product", "steep"], ["steeper"]),
        helper.make_node("Sigmoid", ["steeper"], ["chance"]),
        helper.make_node("Identity", ["colour"], ["seen"]),
    ]
    numbers = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in ("x", "y")]
    word = helper.make_tensor_value_info("colour", TensorProto.STRING, [None, 1])
    outputs = [
        helper.make_tensor_value_info("chance", TensorProto.FLOAT, [None, 1]),
        helper.make_tensor_value_info("seen", TensorProto.STRING, [None, 1]),
    ]
    steep = [helper.make_tensor("steep", TensorProto.FLOAT, [1], [8.0])]
    graph = helper.make_graph(nodes, "agree", [*numbers, word], outputs, steep)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, tmp_path / "shop" / "model.onnx")
    released = made.fit("predict")["predict"]
    assert released is not None
    assert released.outcome == "promoted"
    # Missing numbers are the model's own business, and this one says nothing to them; calibration may move that a little.
    assert made.predict([{"colour": "red"}])[0]["probability"] == pytest.approx(0.5, abs=0.05)
    assert (
        made.shop_context.registry.get_version(released.version).training.models["onnx"]["inputs"]["colour"]
        == "tensor(string)"
    )


def test_a_model_may_say_a_number_in_the_unit_of_the_table(tmp_path):
    """The product of two columns, which no weighted sum can say; models of our own but for the baseline stay out."""
    folder = tmp_path / "shop"
    rng = np.random.default_rng(4)
    folder.mkdir()
    (folder / "vetrina.toml").write_text(
        '[train]\nexclude_models = ["mlp", "boosted", "dcn", "tree"]\n[predict]\nonnx = "model.onnx"\n'
    )
    x = rng.normal(size=(800, 2))
    with (tmp_path / "table.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["x", "y", "paid"])
        out.writerows((f"{a:.5f}", f"{b:.5f}", f"{20 + 5 * a * b + rng.normal():.4f}") for a, b in x.tolist())
    nodes = [
        helper.make_node("Mul", ["x", "y"], ["product"]),
        helper.make_node("Mul", ["product", "five"], ["more"]),
        helper.make_node("Add", ["more", "twenty"], ["paid"]),
    ]
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in ("x", "y")]
    output = helper.make_tensor_value_info("paid", TensorProto.FLOAT, [None, 1])
    given = [helper.make_tensor(n, TensorProto.FLOAT, [1], [v]) for n, v in (("five", 5.0), ("twenty", 20.0))]
    graph = helper.make_graph(nodes, "paid", inputs, [output], given)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), folder / "model.onnx"
    )
    made = Shop(folder)
    made.ingest(table=tmp_path / "table.csv", label="paid")
    released = made.fit("predict")["predict"]
    assert released is not None
    assert released.outcome == "promoted"
    version = made.shop_context.registry.get_version(released.version)
    assert version.training.tuning.weights["predict"] == {"onnx": 1.0, "ridge": 0.0}
    assert made.predict([[1.0, 1.0], [1.0, -1.0]]) == [
        {"prediction": pytest.approx(25.0, abs=0.01)},
        {"prediction": pytest.approx(15.0, abs=0.01)},
    ]


@pytest.mark.parametrize(
    ("settings", "content", "why"),
    [
        ('onnx = "gone.onnx"', None, "is no file"),
        ('onnx = "broken.onnx"', b"no model", "does not open in ONNX Runtime"),
        ('onnx = "other.onnx"', "other", "is no column of the table"),
        ('onnx = "narrow.onnx"\nonnx_inputs = ["x"]', "narrow", "does not answer the table's rows"),
    ],
)
def test_what_cannot_answer_is_refused_in_one_line(tmp_path, settings, content, why):
    made = shop(tmp_path, settings)
    name = settings.split('"')[1]
    if isinstance(content, bytes):
        (tmp_path / "shop" / name).write_bytes(content)
    elif content:
        x, _, label = rows(2)
        fitted = make_pipeline(FunctionTransformer(), LogisticRegression()).fit(x, label)
        model = to_onnx(fitted, initial_types=[("weight", FloatTensorType([None, 2]))], options={"zipmap": False})
        (tmp_path / "shop" / name).write_bytes(model.SerializeToString())
    with pytest.raises(BadInput, match=why):
        made.fit("predict")
