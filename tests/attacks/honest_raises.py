# expect: passed
# tests: {"asserts": {"entry": "root", "source": "try:\n    root(-1)\nexcept ValueError:\n    raised = True\nelse:\n    raised = False\nassert raised\nassert root(9) == 3"}}
def root(number):
    if number < 0:
        raise ValueError("negative")
    return round(number**0.5)
