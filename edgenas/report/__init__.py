"""The report of a finished run: findings and figures, rendered as HTML and as Markdown with images."""
