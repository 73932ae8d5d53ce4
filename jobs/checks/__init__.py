"""Whether it is right, and why: verify, random cells, skew, drift, one decision."""
