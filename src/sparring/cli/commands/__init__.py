"""The commands of `sparring`, one in each file; packages are imported inside them."""
