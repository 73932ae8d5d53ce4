"""What is computed, said once: rows, streams, aggregates, and the engines that run them."""
