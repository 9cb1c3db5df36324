# expect: failed | output_limit
def add(a, b):
    answer = [a + b]
    for _ in range(64):
        answer = [answer, answer]
    return answer
