"""Who attacks the chunks: this process, worker processes on this machine, or workers that ray places."""
