"""From picture bytes to crops."""
