"""A year of flights through the whole way."""
