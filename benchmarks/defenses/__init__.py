"""What defences are worth against attackers who do not know them, and against those who do."""
