"""What makes a model harder to break."""
