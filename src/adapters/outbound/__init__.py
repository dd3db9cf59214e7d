"""The technologies that the application calls."""
