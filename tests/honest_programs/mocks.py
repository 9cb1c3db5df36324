# entry: notify
# wrong: mailer.send(user["email"], "hello") => mailer.send(user["name"], "hello")
def notify(users, mailer):
    sent = 0
    for user in users:
        if user.get("active"):
            mailer.send(user["email"], "hello")
            sent += 1
    return sent
# ---- tests
from unittest.mock import Mock, call
mailer = Mock()
users = [{"name": "a", "email": "a@x", "active": True}, {"name": "b", "email": "b@x"}]
assert notify(users, mailer) == 1
mailer.send.assert_called_once_with("a@x", "hello")
assert mailer.send.call_args == call("a@x", "hello")
