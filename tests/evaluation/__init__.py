"""Scores of predictions, baselines and outliers."""
