"""The plugin contract: hook specifications, discovery, lookup, and the boundary around other people's code."""
