# expect: output_limit | runtime_error
# limits: {"disk_mib": 4, "cpu_s": 2.0}
# host: free space of the disk
import os
import time

os.mkdir("folder", 0o300)
for number in range(60):
    with open(f"folder/{number}", "wb") as file:
        file.write(bytes(1 << 19))
    time.sleep(0.005)
time.sleep(0.3)


def add(a, b):
    return a + b
