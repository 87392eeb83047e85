"""Evaluation protocols: embeddings in, a Result out."""
