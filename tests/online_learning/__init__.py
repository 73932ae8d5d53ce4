"""Laws of what learns: splits, crashes, references."""
