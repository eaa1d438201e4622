"""What this user takes again and again."""
