"""HTTP service: answers requests, stores events and products, follows the champion pointers. Needs no training library."""
