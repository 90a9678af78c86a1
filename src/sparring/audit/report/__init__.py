"""The report of a finished audit: report.json, and one self-contained HTML file."""

from .html import render_html, write_html

__all__ = ["render_html", "write_html"]
