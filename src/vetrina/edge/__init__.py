"""Students for devices: distillation data, small networks, their formats and their export."""
