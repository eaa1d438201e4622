"""What the people whom you follow took."""
