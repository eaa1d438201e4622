"""AutoGluon's predictions of a table, for ``benchmarks.tuned_tables``; run by the Python of an environment that has it.

``python autogluon_tool.py TRAINING.parquet TEST.parquet LABEL SECONDS THREADS OUT.npy`` writes the probability of 1 for each row.
"""

import sys
import tempfile

import numpy as np
import pandas as pd
from autogluon.tabular import TabularPredictor  # pyright: ignore[reportMissingImports]

training_file, test_file, label, seconds, threads, out_file = sys.argv[1:]
with tempfile.TemporaryDirectory() as scratch:
    predictor = TabularPredictor(label, problem_type="binary", eval_metric="log_loss", path=scratch, verbosity=1)
    predictor.fit(
        pd.read_parquet(training_file), presets="best_quality", time_limit=float(seconds), num_cpus=int(threads)
    )
    probabilities = predictor.predict_proba(pd.read_parquet(test_file), as_multiclass=False)
    np.save(out_file, probabilities.to_numpy())
    print(predictor.leaderboard(silent=True)[["model", "score_val", "fit_time"]].head(5).to_string())
