"""The store by itself: its file, its panes, its order."""
