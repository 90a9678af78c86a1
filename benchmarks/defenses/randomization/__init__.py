"""C15: what random defences are worth against attackers who know nothing of them, something, and everything."""
