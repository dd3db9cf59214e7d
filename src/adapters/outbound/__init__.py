"""What the application calls, named by technology."""
