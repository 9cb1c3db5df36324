# expect: failed | runtime_error | no_entry
import sys

sys.exit(0)
