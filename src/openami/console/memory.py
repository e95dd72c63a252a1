"""Answers that are dear to compute, kept while the readings they came from are the newest ones.

The rule never to be broken: a key names all that its answer depends on, the store's commit and the
registry's revision included; so an answer is never stale, it is only no longer asked for.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TypeVar, cast

Answer = TypeVar("Answer")

_KEPT = 128


class Memory:
    """The last answers. Invariant: never more than 128 of them; safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: OrderedDict[Hashable, object] = OrderedDict()

    def answer(self, key: Hashable, compute: Callable[[], Answer]) -> Answer:
        """The kept answer of ``key``, or what ``compute`` gives now.

        Two threads that ask at once may both compute; they compute the same.
        """
        with self._lock:
            if key in self._answers:
                self._answers.move_to_end(key)
                return cast(Answer, self._answers[key])
        found = compute()
        with self._lock:
            self._answers[key] = found
            while len(self._answers) > _KEPT:
                self._answers.popitem(last=False)
        return found
