"""Attacks on semantic segmentation, measured."""
