"""Side-by-side benchmark: sparring and its peers on the same images, in one process, one after another."""
