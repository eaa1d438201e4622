"""Final ranking of candidates: gradient-boosted rankers and reserved positions."""
