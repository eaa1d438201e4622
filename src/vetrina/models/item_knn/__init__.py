"""Item-kNN: directed co-occurrence that decays with distance."""
