"""A pretrained sentence encoder, frozen, and one vector for every distinct product text."""
