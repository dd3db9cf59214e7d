"""Watches the destination: whether it, or a part of it, takes writes and is in sync."""
