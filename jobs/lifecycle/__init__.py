"""A pipeline of one's own: up, down, how it is, what it wrote, what is wrong."""
