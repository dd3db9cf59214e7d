"""What adapters of a store may use: plain data and bytes for entries and heads, common steps."""
