# expect: passed
# tests: {"calls": {"entry": "shortest", "cases": [{"args": [{"a": {"b": 4, "c": 1}, "c": {"b": 2}, "b": {}}, "a", "b"], "expected": 3}]}}
import heapq


def shortest(graph, start, end):
    queue, done = [(0, start)], set()
    while queue:
        distance, node = heapq.heappop(queue)
        if node == end:
            return distance
        if node not in done:
            done.add(node)
            for following, length in graph[node].items():
                heapq.heappush(queue, (distance + length, following))
