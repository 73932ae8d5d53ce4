"""The deep models: tables against a dictionary, nets across restarts."""
