"""A model as a folder of its own: a checkpoint's weights, with what others need to use and to judge them."""
