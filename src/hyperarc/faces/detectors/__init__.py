"""Detectors, one file each; a file imports its libraries only when a detector is opened."""
