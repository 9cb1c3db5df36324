"""The report of one or more runs: one HTML file that needs no network, and a picture of the main curves."""
