# expect: passed
import resource

raised = []
for name in ("RLIMIT_CPU", "RLIMIT_AS", "RLIMIT_FSIZE", "RLIMIT_NOFILE"):
    soft, hard = resource.getrlimit(getattr(resource, name))
    try:
        if hard == resource.RLIM_INFINITY:
            raised.append(name)
        resource.setrlimit(getattr(resource, name), (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        raised.append(name)
    except (OSError, ValueError):
        pass


def add(a, b):
    return f"{raised}" if raised else a + b
