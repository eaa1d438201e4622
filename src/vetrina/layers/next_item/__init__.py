"""Networks that foretell the next product: what they share is everything but the encoder. Training side only."""
