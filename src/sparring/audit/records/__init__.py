"""The records of a run on disk: database, example files, queries, export and comparison."""
