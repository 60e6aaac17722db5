"""What a view asks of servers, as plain arguments: entries of GPUs and models, options, prices; and kept answers."""

import json
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import cached_property
from threading import Lock
from typing import Any, Generic, TypeVar

from ..catalog.gpu_entries import GPU
from ..catalog.gpu_entries import gpu as find_gpu
from ..catalog.gpu_entries import gpus as catalog_gpus
from ..catalog.model_entries import Model
from ..kernels import machine_size
from .view import View, chosen_entries, chosen_gpus, own_card, server_arguments

#: What one server is said to be, by name; None is what does not exist.
ServerRow = dict[str, Any]

#: GPUs that share every layer at most: of a machine, as pods of thousands of TPUs have more than any model takes, and
#: where many servers are compared [1].
MACHINE_TP, MOST_TP = 64, 8

T = TypeVar("T")


class Kept(Generic[T]):
    """Answers by what was asked, the latest `most` of them; asked by the page and by the thread beside it."""

    def __init__(self, most: int) -> None:
        """Keep none yet."""
        self._most, self._answers, self._lock = most, OrderedDict[Hashable, T](), Lock()

    def has(self, key: Hashable) -> bool:
        """Whether there is an answer."""
        return key in self._answers

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The answer, made where there is none."""
        with self._lock:
            if key in self._answers:
                self._answers.move_to_end(key)
                return self._answers[key]
        made = make()
        with self._lock:
            self._answers[key] = made
            while len(self._answers) > self._most:
                self._answers.popitem(last=False)
        return made


class Question:
    """What a view asks of servers.

    Parameters
    ----------
    view : View
        The view.

    Attributes
    ----------
    options : dict
        Arguments of `serving.estimate` beside GPU, model, sizes, tp and price.
    models : dict of str to Model
        Entries of the view's models.
    """

    def __init__(self, view: View) -> None:
        """Read the view; raises ValueError for a draft that does not exist."""
        self.view = view
        self.options = server_arguments(view)
        self._price = self.options.pop("price")
        self.models: dict[str, Model] = dict(zip(view.model, chosen_entries(view), strict=True))

    @cached_property
    def cards(self) -> dict[str, GPU]:
        """Entries of the reader's own GPUs and of the view's, by name."""
        own = {name: own_card(name, card) for name, card in self.view.cards.items()}
        return own | dict(zip(self.view.gpu, chosen_gpus(self.view), strict=True))

    @cached_property
    def _given(self) -> str:
        """All that an answer depends on besides GPU, model, tp, sizes and price."""
        draft = (self.view.server.draft or "").partition(":")[0]
        named = {name: str(value) for name, value in self.options.items() if name != "draft"}
        return json.dumps([named, self.view.server.draft, self.view.configs.get(draft)], sort_keys=True)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Batch size [1], prompt and output [token]."""
        setting = self.view.setting
        return setting.batch_size, setting.seq_len, setting.output

    def of(self, record: Any) -> dict[str, Any]:
        """Those of the options that a dataclass has."""
        return {name: value for name, value in self.options.items() if name in record.__dataclass_fields__}

    def card(self, gpu: str) -> GPU:
        """The entry of a GPU, of the view or of the catalog."""
        return self.cards[gpu] if gpu in self.cards else find_gpu(gpu)

    def key(self, gpu: str, model: str, *more: Hashable) -> Hashable:
        """What an answer is kept by."""
        own = self._own.get(gpu, ""), self._own_models.get(model, "")
        return (gpu, model, *own, self._given, *more)

    @cached_property
    def _own(self) -> dict[str, str]:
        return {name: json.dumps(card, sort_keys=True) for name, card in self.view.cards.items()}

    @cached_property
    def _own_models(self) -> dict[str, str]:
        return {name: json.dumps(config, sort_keys=True) for name, config in self.view.configs.items()}

    def price(self, gpu: str) -> float | None:
        """Of a GPU for an hour; None without one."""
        return self._price.get(gpu) if isinstance(self._price, dict) else self._price

    @property
    def prices_by_gpu(self) -> bool:
        """Whether each GPU has a price of its own, or none."""
        return isinstance(self._price, dict)

    def priced(self, gpu: str) -> bool:
        """Whether a GPU has a price of its own."""
        return isinstance(self._price, dict) and gpu in self._price

    def every_gpu(self) -> list[str]:
        """The reader's own GPUs, and the catalog's."""
        return [*self.view.cards, *catalog_gpus()]


def tp_sizes(card: GPU, *, most: int = MACHINE_TP, also: int = 1) -> list[int]:
    """Powers of two up to the GPUs of a machine, and one more number [1]."""
    room = min(machine_size(card), most)
    return sorted({2**i for i in range(room.bit_length()) if 2**i <= room} | {also})


def finite(value: float) -> float | None:
    """A number as JSON has it: None for what does not exist."""
    return float(value) if value == value and abs(value) != float("inf") else None


def times(seconds: float) -> str:
    """A time in words, with three digits: "40.2 ms", "1.21 s"."""
    unit, scale = next(
        ((u, s) for u, s in (("h", 3600), ("min", 60), ("s", 1), ("ms", 1e-3)) if seconds >= 0.9995 * s), ("µs", 1e-6)
    )
    value = seconds / scale
    return f"{value:,.{max(0, 3 - len(str(int(value))))}f} {unit}"


def gigabytes(size: float) -> str:
    """Bytes in words, in GB of 10^9, as exact as a reader compares them."""
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e9:,.2f} GB"
