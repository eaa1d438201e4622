"""The HTTP service: answers, takes events and products, follows the champion pointer. No training library."""
