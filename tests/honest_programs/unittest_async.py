# names: Client
# wrong: self.calls += 1 => self.calls += 2
import asyncio


class Client:
    def __init__(self):
        self.calls = 0

    async def get(self, key):
        await asyncio.sleep(0)
        self.calls += 1
        return {"key": key}
# ---- tests
import unittest
from solution import Client
class TestClient(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.client = Client()
    async def test_get(self):
        self.assertEqual(await self.client.get("a"), {"key": "a"})
        self.assertEqual(self.client.calls, 1)
