"""What people with this taste take: item-based collaborative filtering over whole histories."""
