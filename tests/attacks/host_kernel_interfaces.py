# expect: passed
# levels: full container
import ctypes
import platform

numbers = {
    "x86_64": {"bpf": 321, "perf_event_open": 298, "userfaultfd": 323, "fanotify_init": 300, "syslog": 103, "personality": 135, "memfd_secret": 447, "kcmp": 312, "lookup_dcookie": 212, "vmsplice": 278},
    "aarch64": {"bpf": 280, "perf_event_open": 241, "userfaultfd": 282, "fanotify_init": 262, "syslog": 116, "personality": 92, "memfd_secret": 447, "kcmp": 272},
}[platform.machine()]
libc = ctypes.CDLL(None, use_errno=True)
arguments = {"bpf": (0, ctypes.create_string_buffer(b"\x02\0\0\0\x04\0\0\0\x04\0\0\0\x01\0\0\0", 72), 72), "syslog": (3, ctypes.create_string_buffer(64), 64), "personality": (0x0040000,), "kcmp": (CANARY_PID, CANARY_PID, 0, 0, 0), "perf_event_open": (ctypes.create_string_buffer(b"\x01\0\0\0\x80\0\0\0", 128), 0, -1, -1, 0)}
allowed = [name for name, number in numbers.items() if name != "vmsplice" and libc.syscall(number, *arguments.get(name, (0, 0, 0))) >= 0]


def add(a, b):
    return f"{allowed}" if allowed else a + b
