"""Deep and cross network for clicks and conversions, which learns interactions between column values."""
