"""Who is on the GPU: chat model, ears and voice share what the device gives a page."""

from collections.abc import Callable
from dataclasses import dataclass

from pyengine.budget import Resident, make_room

GONE = ("The {name} model was taken off the GPU to make room for the {other} model; it loads again "
        "when it is needed.")


@dataclass(frozen=True)
class Role:
    """A place for a model: `nbytes()` of GPU memory, 0 without one; whether it is `busy()`;
    `drop()` is awaited to take it off, which is at once where it is idle."""

    nbytes: Callable
    busy: Callable
    drop: Callable


class Residents:
    """`roles` {name: Role}, the least needed first; `budget(params)` is awaited for the bytes that
    the page of a call gets, None where that is not known."""

    def __init__(self, roles, budget):
        self._roles, self._budget = roles, budget
        self.notice = None  # what a person is told of who had to go last

    def used(self):
        """{role: bytes of GPU memory} of the models that are loaded."""
        found = {name: role.nbytes() for name, role in self._roles.items()}
        return {name: nbytes for name, nbytes in found.items() if nbytes}

    async def make_room(self, role, need, params):
        """Takes idle models off the GPU until one of `need` bytes fits for `role`. Raises
        E_OUT_OF_MEMORY where those at work leave too little."""
        budget = await self._budget(params)
        if budget is None:
            return
        loaded = [Resident(name, nbytes, self._roles[name].busy())
                  for name, nbytes in self.used().items() if name != role]
        for name in make_room(loaded, need, budget):
            await self._drop(name, role)

    async def after(self, role, params):
        """Takes idle models off where they and the one just loaded for `role` are too much; where
        that is not enough, what was loaded stays."""
        budget, used = await self._budget(params), self.used()
        for name, one in self._roles.items():
            if budget is None or sum(used.values()) <= budget:
                return
            if name != role and name in used and not one.busy():
                del used[name]
                await self._drop(name, role)

    async def _drop(self, name, other):
        self.notice = GONE.format(name=name, other=other)
        await self._roles[name].drop()
