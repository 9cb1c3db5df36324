# names: Queue, EmptyQueue, evens
# wrong: n % 2 == 0 => n % 2 == 1
class EmptyQueue(Exception):
    pass


class Queue:
    def __init__(self):
        self.items = []

    def put(self, item):
        self.items.append(item)

    def get(self):
        if not self.items:
            raise EmptyQueue("the queue is empty")
        return self.items.pop(0)


def evens(numbers):
    return [n for n in numbers if n % 2 == 0]
# ---- tests
import unittest
from solution import EmptyQueue, Queue, evens
class TestQueue(unittest.TestCase):
    def setUp(self):
        self.queue = Queue()
    def test_order(self):
        self.queue.put(1)
        self.queue.put({"a": 2})
        self.assertEqual(self.queue.get(), 1)
        self.assertDictEqual(self.queue.get(), {"a": 2})
        self.assertListEqual(self.queue.items, [])
    def test_empty(self):
        with self.assertRaises(EmptyQueue) as caught:
            self.queue.get()
        self.assertEqual(str(caught.exception), "the queue is empty")
        self.assertRaisesRegex(EmptyQueue, "is empty$", self.queue.get)
        with self.assertRaisesRegex(EmptyQueue, "queue"):
            self.queue.get()
    def test_kinds(self):
        self.assertIsInstance(self.queue, Queue)
        self.assertIsNot(self.queue, Queue())
        self.assertTrue(hasattr(self.queue, "put"))
        self.assertNotIn(3, evens([1, 3]))
        self.assertCountEqual(evens([4, 2, 1]), [2, 4])
        self.assertSequenceEqual(evens(range(5)), [0, 2, 4])
    def test_each(self):
        for given, wanted in (([1], []), ([2], [2])):
            with self.subTest(given=given):
                self.assertEqual(evens(given), wanted)
