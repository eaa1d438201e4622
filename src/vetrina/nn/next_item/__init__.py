"""Next-item models: data, item embeddings and training, which all sequence encoders share. Training side only."""
