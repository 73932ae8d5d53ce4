"""Cases, laws and contracts."""
