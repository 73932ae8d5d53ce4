"""The operators on streams, one to a file; `catalogue` lists them."""
