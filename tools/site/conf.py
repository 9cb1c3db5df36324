"""The configuration of Sphinx; tools/make_site.py runs it on pages that it has staged."""

from reasonrl import __version__

project = "reasonrl"
release = version = __version__
copyright = "The reasonrl authors"  # Sphinx's name

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = f"reasonrl {release}"
html_copy_source = False
html_show_sphinx = False
html_static_path: list[str] = []

# Headings are linked to as on GitHub.
myst_heading_anchors = 5
# What is no valid JSON or YAML, such as an excerpt with dots, is shown without colors.
suppress_warnings = ["misc.highlighting_failure"]
pygments_style = "default"
pygments_dark_style = "monokai"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autoclass_content = "class"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
python_use_unqualified_type_names = True
