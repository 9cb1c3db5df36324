# expect: failed | runtime_error | compile_error | no_entry | memory_limit | output_limit
# host: no exit status is a success or the fault of the sandbox
import os
import random

os._exit(random.SystemRandom().choice(range(256)))
