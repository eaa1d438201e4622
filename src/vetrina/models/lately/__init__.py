"""What this user took in the last weeks."""
