# expect: passed
import copy
import pickle


def add(a, b):
    nested = copy.deepcopy({"numbers": [a, [b]]})
    nested = pickle.loads(pickle.dumps(nested))
    return nested["numbers"][0] + nested["numbers"][1][0]
