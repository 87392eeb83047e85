"""Heads: centers, margin and sweep joined into a loss."""
