"""The parts of the documentation's site: what is staged for Sphinx, and what is checked of what it makes."""
