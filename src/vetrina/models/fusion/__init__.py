"""Multi-modal item vectors: one vector a product of all its content and co-occurrence, also for cold-start items."""
