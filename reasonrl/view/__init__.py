"""``reasonrl view``: a local web app over run directories. It reads them and writes nothing into them."""
