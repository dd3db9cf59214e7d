"""Processes: command line, settings from the environment, composition root, server."""
