"""Who may connect, and how many at once."""
