"""How a chunk of the data is attacked: admission, clean predictions, attacker's views, the cascade, confirmation."""
