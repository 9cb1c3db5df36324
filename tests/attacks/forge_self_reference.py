# expect: failed | runtime_error
def add(a, b):
    answer = [a, b]
    answer.append(answer)
    return answer
