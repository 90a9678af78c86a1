"""Certified robustness, measured."""
