from threading import Barrier, Thread

import pytest

from reasonrl.system.shared import SharedValues


def test_a_value_is_made_once_and_dropped_after_its_last_user() -> None:
    shared, made = SharedValues[str, list[int]](), list[int]()

    def make() -> list[int]:
        made.append(1)
        return made

    with shared.used("a", make) as first:
        with shared.used("a", make) as second:
            assert first is second
        assert shared.get("a") is first
    assert (made, len(shared), shared.get("a")) == ([1], 0, None)
    with shared.used("a", make):
        assert made == [1, 1]


def test_a_value_that_cannot_be_made_leaves_nothing_behind() -> None:
    shared = SharedValues[str, int]()

    def fail() -> int:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"), shared.used("a", fail):
        pass
    with shared.used("a", lambda: 2) as value:
        assert value == 2
    assert len(shared) == 0


def test_an_error_of_one_user_takes_nothing_from_the_others() -> None:
    shared = SharedValues[str, int]()
    with shared.used("a", lambda: 1):
        with pytest.raises(ValueError, match="mine"), shared.used("a", lambda: 2):
            raise ValueError("mine")
        assert shared.get("a") == 1


def test_users_in_several_threads_share_one_value() -> None:
    shared, together, made = SharedValues[str, int](), Barrier(8), list[int]()

    def use() -> None:
        together.wait()
        with shared.used("a", lambda: made.append(1) or 1):  # type: ignore[func-returns-value]  # counts the calls
            together.wait()

    threads = [Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (made, len(shared)) == ([1], 0)
