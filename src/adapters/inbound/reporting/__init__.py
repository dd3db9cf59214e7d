"""What operators are told of connections: whence they come, why they are refused or closed."""
