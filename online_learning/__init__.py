"""Learners that go on learning: batches to tensors, models, snapshots, honest scores."""
