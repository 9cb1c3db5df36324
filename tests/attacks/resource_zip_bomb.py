# expect: memory_limit
# limits: {"memory_mib": 192}
# host: memory of the machine
import zlib

packer = zlib.compressobj(9, zlib.DEFLATED, -15)
head = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
repeated = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
bomb = head + repeated * 2047


def add(a, b):
    return a + b + len(zlib.decompressobj(-15).decompress(bomb)) - (2 << 30)
