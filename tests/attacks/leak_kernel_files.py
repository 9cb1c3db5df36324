# expect: passed
# levels: full container
found = []
for path in ("/dev/mem", "/dev/kmem", "/dev/kmsg", "/proc/kcore", "/dev/vda", "/dev/sda", "/dev/kvm", "/dev/fuse", "/dev/net/tun", "/dev/tty", "/dev/ptmx"):
    try:
        open(path, "rb").close()
        found.append(path)
    except OSError:
        pass


def add(a, b):
    return f"{found}" if found else a + b
