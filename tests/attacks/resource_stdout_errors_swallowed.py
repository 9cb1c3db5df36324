# expect: output_limit | timeout
# limits: {"cpu_s": 1}
# tests: {"stdio": [{"stdin": "", "stdout": "x"}]}
import os
import time

end = time.time() + 20
while time.time() < end:
    try:
        os.write(1, b"x" * (1 << 20))
    except OSError:
        pass
