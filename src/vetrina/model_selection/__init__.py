"""Choice among fitted models: blend weights, ensembles, thresholds, calibration and the training budget."""
