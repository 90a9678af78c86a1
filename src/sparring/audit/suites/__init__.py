"""Which attacks an audit runs: suites at a fixed radius and for the smallest example, in the order of the cascade."""
