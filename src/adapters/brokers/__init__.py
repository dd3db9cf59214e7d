"""Shared by the adapters of all brokers: the published data, and connections to servers."""
