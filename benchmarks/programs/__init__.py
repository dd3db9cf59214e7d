"""What the service is compared with: each serves `/v1/ingest` on HOST and PORT."""
