"""Features: one fold for serving, the same fold vectorised for training."""
