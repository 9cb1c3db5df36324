"""Several processes of one run: how they are started, what they say to each other, and how all end when one does."""
