# expect: passed
# levels: full container
try:
    with open("CANARY_FOLDER/secret") as file:
        secret = file.read()
except OSError:
    secret = ""


def add(a, b):
    return secret or a + b
