"""Attack suites, at a fixed radius and minimum-norm, in the order of the cascade."""
