"""Image model: a network fine-tuned on the catalogue's categories, and visual similarity of products."""
