# entry: connect
# wrong: port: int = 80 => port: int = 8080
import inspect


def connect(host: str, port: int = 80, *args, timeout=1.5, **options) -> bool:
    """Connect somewhere."""
    return (host, port, timeout)
# ---- tests
import inspect
signature = inspect.signature(connect)
assert list(signature.parameters) == ["host", "port", "args", "timeout", "options"]
assert signature.parameters["port"].default == 80
assert connect.__name__ == "connect"
assert connect.__doc__ == "Connect somewhere."
assert connect("a", timeout=2) == ("a", 80, 2)
assert callable(connect)
