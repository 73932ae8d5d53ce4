"""The jobs: store process, server, replay, verify, command line."""
