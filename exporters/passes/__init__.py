"""Graph rewrites, one a file, each checked before and after."""
