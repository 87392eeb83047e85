"""File formats that faces come in and go out in."""
