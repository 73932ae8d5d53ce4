"""Events in, features and models out: one declaration, the same numbers in batch and in stream."""
