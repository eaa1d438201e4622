"""What belongs to the same tastes: a graph filter over whole histories, in closed form."""
