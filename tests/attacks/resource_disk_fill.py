# expect: passed | output_limit
# levels: full container
# host: free disk
written = 0
try:
    for number in range(200):
        with open(f"file{number}", "wb") as file:
            written += file.write(b"x" * (1 << 20) if number else b"x")
except OSError:
    pass


def add(a, b):
    return f"{written >> 20} MiB" if written > 32 << 20 else a + b
