"""A finished audit as one HTML file that needs nothing else."""

from .html import render, write_html

__all__ = ["render", "write_html"]
