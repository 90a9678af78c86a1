"""A finished audit as one HTML file that needs nothing else."""

from .html import render_html, write_html

__all__ = ["render_html", "write_html"]
