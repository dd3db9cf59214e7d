"""What the adapters of all brokers share: what consumers find, and how a server is reached."""
