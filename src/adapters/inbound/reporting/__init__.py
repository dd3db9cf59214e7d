"""Reports about connections: their origin, and why they are refused or closed."""
