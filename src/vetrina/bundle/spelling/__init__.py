"""Words of the catalogue, for spelling correction: one JSON object from each word to the number of its products."""
