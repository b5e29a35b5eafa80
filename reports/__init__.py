"""Views of a bundle: HTML and Markdown. Floor 4; never imports torch, never a source of figures."""
