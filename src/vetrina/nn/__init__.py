"""Training of neural networks with PyTorch: batches, losses, optimisers, fine-tuning and export to ONNX."""
