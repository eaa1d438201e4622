"""What several models learn with: co-occurrence, properties of products, low rank, next-item training. Training side only."""
