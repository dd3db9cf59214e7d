"""Technologies, at the edge: `inbound` calls the application, the application calls `outbound`."""
