"""What the store process answers, and to whom: HTTP, the Open Inference Protocol, Arrow Flight."""
