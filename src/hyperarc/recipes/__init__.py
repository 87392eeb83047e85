"""Recipes shipped with HyperArc: one YAML file each, run with ``hyperarc train NAME``."""
