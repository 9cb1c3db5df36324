# expect: failed | runtime_error
def add(a, b):
    answer = {}
    answer["self"] = (answer, [answer])
    return answer
