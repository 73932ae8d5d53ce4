"""Searching for a model's settings over what its pipeline has seen."""
