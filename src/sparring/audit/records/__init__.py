"""What a run leaves on disk, the questions that are asked of it, and what is made of the rows: tables, comparisons."""
