"""Worker pools that attack chunks: this process, processes on this machine, or workers placed by ray."""
