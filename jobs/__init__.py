"""How it runs: read the settings, build from the declaration, run; short files."""
