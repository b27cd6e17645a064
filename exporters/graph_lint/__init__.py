"""A graph as its reader sees it: layers, their cost, and what looks odd."""
