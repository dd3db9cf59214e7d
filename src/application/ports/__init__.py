"""The Protocols the application owns, with their promises, and the errors that cross them."""
