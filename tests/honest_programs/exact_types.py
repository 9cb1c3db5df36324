# entry: of
# wrong: frozenset => set
import uuid


def of(name):
    return {
        "range": range(1, 7, 2),
        "bytes": b"ab",
        "bytearray": bytearray(b"ab"),
        "frozenset": frozenset([1, 2]),
        "complex": complex(1, -2),
        "uuid": uuid.UUID("12345678123456781234567812345678"),
        "none": None,
        "set": {1, 2},
        "tuple": (1, [2]),
    }[name]
# ---- tests
import uuid
assert of("range") == range(1, 7, 2)
assert list(of("range")) == [1, 3, 5]
assert of("bytes") == b"ab"
assert isinstance(of("bytearray"), bytearray)
assert of("frozenset") == frozenset({2, 1}) and type(of("frozenset")) is frozenset
assert of("complex") == 1 - 2j
assert of("uuid") == uuid.UUID(int=0x12345678123456781234567812345678)
assert of("none") is None
assert of("set") == {2, 1}
assert of("tuple") == (1, [2])
