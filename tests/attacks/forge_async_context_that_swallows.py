# expect: failed | runtime_error | unscorable
# tests: {"asserts": {"entry": "opened", "source": "import asyncio\n\nasync def main():\n    async with opened(3) as number:\n        assert number == 3\n\nasyncio.run(main())\nassert opened(3)"}}
class Context:
    async def __aenter__(self):
        return None

    async def __aexit__(self, *error):
        return True


def opened(number):
    return Context()
