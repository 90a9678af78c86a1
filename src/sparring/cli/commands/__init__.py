"""The commands of `sparring`, one in each file; rooms are imported inside them."""
