"""What the command line shows: audit results, errors and exit codes, progress, estimates, tables."""
