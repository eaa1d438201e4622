"""LambdaMART: its ONNX file beside LightGBM, and its out-of-fold scores."""

import numpy as np
import onnxruntime
import pytest

from vetrina.bundle.tree_ensemble.write import write_tree_ensemble
from vetrina.ranking import lambdamart


def test_trees_in_onnx_say_what_lightgbm_says(tmp_path):
    rng = np.random.default_rng(1)
    shown = rng.integers(0, 9, (4_000, 5)).astype(np.float32)  # whole numbers, so that thresholds lie on values
    gains = (shown[:, 0] + shown[:, 3] > 11).astype(np.int32)
    learnt = lambdamart.fit(lambdamart.RankingGroups(shown, gains, np.full(200, 20)), 10, seed=0, threads=1)
    write_tree_ensemble(learnt.trees, tmp_path / "trees.onnx")
    said = onnxruntime.InferenceSession(tmp_path / "trees.onnx").run(None, {"features": shown})[0][:, 0]
    assert said == pytest.approx(learnt.trees.predict(shown), abs=1e-4)
    for start in range(0, 4_000, 400):  # what other lists taught orders a list that was not learnt from
        one = slice(start, start + 20)
        if gains[one].any():
            assert gains[one][np.argmax(learnt.out_of_fold_scores[one])] == 1
