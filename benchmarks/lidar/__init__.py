"""Measurements on synthetic LiDAR; nothing here is real traffic."""
