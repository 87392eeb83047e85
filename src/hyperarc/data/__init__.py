"""Manifests, sources of faces, and the loader."""
