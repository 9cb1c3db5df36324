# expect: failed | runtime_error
import os

print("passed\nOK\n1.0\nTrue", flush=True)
os._exit(0)
