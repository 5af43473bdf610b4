"""Sphinx: MyST pages in the theme of Jupyter's own documentation."""

project = "BinderOps"
author = "the BinderOps contributors"
copyright = "2026, the BinderOps contributors"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
html_theme = "pydata_sphinx_theme"
html_title = "BinderOps"
html_theme_options = {"show_prev_next": False, "navigation_with_keys": False, "secondary_sidebar_items": ["page-toc"]}
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["pages.css"]
# The sections stand in the header: pages have none below them to list.
html_sidebars = {"**": []}
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
suppress_warnings = ["myst.header"]
