"""Graph filter over whole histories, in closed form."""
