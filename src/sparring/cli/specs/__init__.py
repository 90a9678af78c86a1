"""From the strings of a command line to objects: models, attacks, defenses, services, threats."""
