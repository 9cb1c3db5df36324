"""Everybody who is told what happens in a run, and what becomes of a plugin among them that fails."""

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

from reasonrl.errors import PluginError, ReasonRLError
from reasonrl.run.events import Event, Message, Observer, RunEnded
from reasonrl.system.stopping import say


class Observers:
    """Tells observers of events, in order.

    What an observer of the run itself raises (a full disk, an alarm that stops the run) is passed on. A plugin that
    fails is told nothing more; the others hear of it, and the run goes on.

    Args:
        own: the run's own observers.
        plugins: those of the run file, by name.
    """

    def __init__(self, own: Sequence[Observer], plugins: Sequence[tuple[str, Observer]] = ()) -> None:
        self._own = list(own)
        self._plugins = list(plugins)

    def add(self, observer: Observer) -> None:
        """Have one more of the run's own told, after the others."""
        self._own.append(observer)

    def notify(self, event: Event) -> None:
        """Tell everybody, plugins first: an alarm may end the run, and they should know of its last step."""
        for name, observer in list(self._plugins):
            self._tell_plugin(name, observer, event)
        for own in self._own:
            own(event)

    def say(self, text: str) -> None:
        """Show a person a line, from a signal handler: on standard error, or above the status block of a terminal."""
        if not sys.stdout.isatty():
            return say(text)
        try:
            for own in self._own:
                own(Message(text=text))
        except (RuntimeError, OSError):  # the handler came while a line was being printed
            say(text)

    def end(self, event: RunEnded, *, failing: bool) -> None:
        """Tell everybody that the run is over, whatever any of them raises.

        Args:
            event: how it ended.
            failing: whether an error is on its way already; then a further one is not raised.

        Raises:
            ReasonRLError: the first that an observer of the run raised.
        """
        for name, observer in list(self._plugins):
            with suppress(ReasonRLError):
                self._tell_plugin(name, observer, event)
        errors = [error for own in self._own if (error := _told(own, event)) is not None]
        if errors and not failing:
            raise errors[0]

    def _tell_plugin(self, name: str, observer: Observer, event: Event) -> None:
        """Tell a plugin, and detach it where it fails."""
        try:
            observer(event)
        except PluginError as error:  # the boundary around plugins has made one of whatever it was
            self._plugins.remove((name, observer))
            self.notify(Message(text=f"observer {name!r} is detached: {error}", kind="observer_failed"))


def _told(observer: Callable[[Event], None], event: Event) -> ReasonRLError | None:
    try:
        observer(event)
    except ReasonRLError as error:
        return error
    return None
