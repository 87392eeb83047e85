"""Faces and people compared with each other, to clean training data. Arrays in, results out."""
