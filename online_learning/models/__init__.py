"""The kinds of models, each in its file."""
