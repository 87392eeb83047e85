"""What is wrong with a set of faces, told from the pixels: one pass over them, a few numbers kept of each."""
