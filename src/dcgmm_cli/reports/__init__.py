"""What runs were, as reports: one content, on a terminal and as a page. Imports neither torch nor Matplotlib."""
