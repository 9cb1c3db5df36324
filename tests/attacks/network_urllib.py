# expect: passed
# levels: full container
# host: nobody knocks on the canary port
import urllib.request

try:
    urllib.request.urlopen("http://127.0.0.1:CANARY_PORT/", timeout=0.5)
    reached = True
except OSError as error:
    reached = "timed out" in str(error)


def add(a, b):
    return "reached it" if reached else a + b
