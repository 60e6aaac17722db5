"""A tab's numbers as calls of the package: as Python to take away, and as what these calls return."""

import inspect
import json
from collections import deque
from collections.abc import Mapping
from functools import lru_cache
from pprint import pformat
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd
import xarray as xr

from ..search import estimates, pareto
from ..servers.drafts import Draft
from ..servers.replica import Replica
from ..serving import estimate
from .answers import MOST_TP, Question, tp_sizes
from .frontier import batch_sizes
from .own_cards import card_code
from .own_models import is_entry, model_code
from .planning import considered, plan_steps
from .view import View, drawn, grid, grid_arguments

if TYPE_CHECKING:
    from .measured import Measured

#: Arguments of `roofline_grid` whose default need not be said.
_DEFAULTS = {
    "candidates": None, "tp": None, "weight_dtype": None, "activation_dtype": None, "kv_dtype": None,
    "time_model": "ideal", "launch_latency": 0.0,
}  # fmt: skip
#: Of `serving.estimate`, likewise.
_OF_ESTIMATE = {name: each.default for name, each in inspect.signature(estimate).parameters.items()}
PER_USER, PER_GPU = "tokens_per_second_per_user", "tokens_per_second_per_gpu"


class Argument(NamedTuple):
    """An argument as Python, and its value."""

    code: str
    value: Any


class OwnNames:
    """Models, GPUs and the draft of a view as Python, and the lines that make those that are the reader's own."""

    def __init__(self, view: View) -> None:
        """Know the view; no line is needed yet."""
        self.view, self.asked = view, Question(view)

    def gpu(self, name: str) -> Argument:
        """One GPU."""
        return Argument(f"cards[{name!r}]" if name in self.view.cards else repr(name), self.asked.card(name))

    def model(self, name: str) -> Argument:
        """One model."""
        return Argument(f"own[{name!r}]" if name in self.view.configs else repr(name), self.asked.models[name])

    def draft(self) -> Argument:
        """The server's draft, or None."""
        draft: Draft | None = self.asked.options["draft"]
        if draft is None:
            return Argument("None", None)
        kind, *numbers = (self.view.server.draft or "").split(":")
        if kind == "medusa":
            return Argument(f"wb.serving.medusa(candidates={int(numbers[0])})", draft)
        how = f"depth={int(numbers[0])}, alpha={float(numbers[1])!r}"
        own = f"own[{kind!r}]" if kind in self.view.configs else repr(kind)
        return Argument(f"wb.serving.mtp({how})" if kind == "mtp" else f"wb.serving.draft_model({own}, {how})", draft)

    def options(self, *, but: tuple[str, ...] = ()) -> dict[str, Argument]:
        """The arguments of `serving.estimate` that differ from its defaults."""
        given = {name: Argument(repr(value), value) for name, value in self.asked.options.items() if name not in but}
        return {
            name: each for name, each in (given | {"draft": self.draft()}).items() if each.value != _OF_ESTIMATE[name]
        }

    def price(self, gpus: list[str]) -> dict[str, Argument]:
        """The price of each of these GPUs, where all have one."""
        prices = {gpu: self.asked.price(gpu) for gpu in gpus}
        if not prices or None in prices.values():
            return {}
        one = {*prices.values()}
        value: Any = one.pop() if len(one) == 1 else prices
        return {"price": Argument(repr(value), value)}

    def lines(self, code: str) -> list[str]:
        """What has to stand before a code that uses these names: the import, own GPUs, own models."""
        cards = [
            f"cards[{name!r}] = {card_code(name, card)}"
            for name, card in self.view.cards.items()
            if f"cards[{name!r}]" in code
        ]
        models = [
            f"own[{name!r}] = {_own_model(name, config)}"
            for name, config in self.view.configs.items()
            if f"own[{name!r}]" in code
        ]
        return [
            "import workbench as wb", *(["", "cards = {}", *cards] if cards else []),
            *(["", "own = {}", *models] if models else []), "",
        ]  # fmt: skip


def _own_model(name: str, config: dict[str, Any]) -> str:
    if is_entry(config):
        return model_code(name, config)
    return f"wb.from_hf_config(\n{_python(json.dumps(config | {'_name_or_path': name}))}\n)"


@lru_cache(maxsize=64)
def _python(config: str) -> str:
    """A config, given as JSON, as Python; kept, as it is long and few changes of a view change it."""
    return pformat(json.loads(config), width=100, sort_dicts=False, compact=True)


def _several(said: list[Argument]) -> Argument:
    return Argument(f"[{', '.join(each.code for each in said)}]", [each.value for each in said])


def _call(name: str, function: str, given: Mapping[str, Any]) -> str:
    """A call as Python, an argument a line."""
    rows = [f"    {key}={value.code if isinstance(value, Argument) else repr(value)}," for key, value in given.items()]
    return "\n".join([f"{name} = wb.{function}(", *rows, ")"])


def _values(given: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value.value if isinstance(value, Argument) else value for key, value in given.items()}


# Of a grid --------------------------------------------------------------------------------------------------------


def grid_code(view: View, names: OwnNames) -> str:
    """The view's grid, and its whole steps where the chart's points are those."""
    given = {name: value for name, value in grid_arguments(view).items() if _DEFAULTS.get(name, ...) != value}
    given["gpu"] = _several([names.gpu(name) for name in view.gpu])
    given["model"] = _several([names.model(name) for name in view.model])
    lines = [_call("ds", "roofline_grid", given)]
    if view.peak_tflops is not None:
        lines += [f"ds = wb.grid.with_roof(ds, {view.peak_tflops!r})  # the roof as the chart prints it, in TFLOP/s"]
    if view.points == "steps":
        lines += ["steps = wb.forward_pass(ds)  # whole steps, the points of the chart"]
    return "\n".join(lines)


# Of servers -------------------------------------------------------------------------------------------------------


def cannot_run(names: OwnNames, gpu: str, model: str, tp: int) -> str:
    """Why a model cannot run on so many of a GPU; empty where it can."""
    asked = names.asked
    try:
        Replica(asked.card(gpu), asked.models[model], tp=tp, **asked.of(Replica))
    except ValueError as error:
        return str(error)
    return ""


def _served(view: View, names: OwnNames) -> tuple[dict[str, Any], dict[str, str]]:
    """Arguments of `serving.estimate` for the GPUs that can run all the view's models, and why others cannot."""
    why = {
        gpu: next(filter(None, (cannot_run(names, gpu, each, view.tp) for each in view.model)), "") for gpu in view.gpu
    }
    gpus = [gpu for gpu in view.gpu if not why[gpu]]
    if not gpus:
        raise ValueError(why[view.gpu[0]])
    setting = view.setting
    given = {
        "gpu": _several([names.gpu(name) for name in gpus]),
        "model": _several([names.model(name) for name in view.model]),
        "batch_size": setting.batch_size, "prompt": setting.seq_len, "output": setting.output, "tp": view.tp,
        **names.options(), **names.price(gpus),
    }  # fmt: skip
    return given, {gpu: words for gpu, words in why.items() if words}


def server_code(view: View, names: OwnNames) -> str:
    """The setting on a server of each GPU."""
    given, why = _served(view, names)
    return "\n".join(
        [*(f"# left out: {gpu}: {words}" for gpu, words in why.items()), _call("ds", "serving.estimate", given)]
    )


def server_numbers(view: View, names: OwnNames) -> xr.Dataset:
    """What that code computes."""
    ds: xr.Dataset = estimate(**_values(_served(view, names)[0]))
    return ds


def _frontier(view: View, names: OwnNames) -> list[tuple[Argument, Argument, int, int, list[int]]]:
    """GPU, model, tp, GPUs of a replica and batch sizes of each line."""
    return [
        (names.gpu(gpu), names.model(model), tp, *batch_sizes(names.asked, gpu, model, tp))
        for gpu in view.gpu for model in view.model
        for tp in tp_sizes(names.asked.card(gpu), most=MOST_TP, also=view.tp) if not cannot_run(names, gpu, model, tp)
    ]  # fmt: skip


def frontier_code(view: View, names: OwnNames) -> str:
    """What no other server beats in speed for a user and in throughput of a GPU."""
    rows = [
        f"    ({gpu.code}, {model.code}, {tp}, {gpus}, {batches[-1]}),"
        for gpu, model, tp, gpus, batches in _frontier(view, names)
    ]
    options = "".join(f", {name}={each.code}" for name, each in names.options().items())
    sizes = f"{view.setting.seq_len}, {view.setting.output}"
    return "\n".join([
        "servers = [  # GPU, model, tp, GPUs of a replica, largest batch", *rows, "]", "blocks = [",
        f"    ds.assign({PER_GPU}=ds.tokens_per_second / gpus)", "    for gpu, model, tp, gpus, most in servers",
        f"    for ds in wb.estimates(gpu, model, [2**i for i in range(11) if 2**i <= most], {sizes}, tp{options})", "]",
        f'front = wb.pareto(blocks, "{PER_USER}", "{PER_GPU}", maximize="{PER_GPU}")',
    ])  # fmt: skip


def frontier_numbers(view: View, names: OwnNames) -> pd.DataFrame:
    """What that code computes."""
    sizes, options = (view.setting.seq_len, view.setting.output), _values(names.options())
    blocks = [
        ds.assign({PER_GPU: ds.tokens_per_second / gpus})
        for gpu, model, tp, gpus, batches in _frontier(view, names)
        for ds in estimates(gpu.value, model.value, batches, *sizes, tp, **options)
    ]
    return pareto(blocks, PER_USER, PER_GPU, maximize=PER_GPU)


def _planned(view: View, names: OwnNames) -> dict[str, Any]:
    """Arguments of `serving.plan` beside the model."""
    goal, gpus = view.goal, considered(names.asked)
    tps = sorted({tp for gpu in gpus for tp in tp_sizes(names.asked.card(gpu), most=MOST_TP, also=view.tp)})
    given = {
        "gpu": _several([names.gpu(name) for name in gpus]), "tp": tps, "prompt": view.setting.seq_len,
        "output": view.setting.output, "ttft": goal.ttft, "tpot": goal.tpot, "request_rate": goal.rate,
        "percentile": goal.percentile, **names.price(gpus), **names.options(),
    }  # fmt: skip
    if goal.considered == "view":
        given["confirm"] = len(gpus) * len(tps)
    return {name: value for name, value in given.items() if value is not None}


def plan_code(view: View, names: OwnNames) -> str:
    """What a rate and a service level take, a plan a model."""
    given = _planned(view, names)
    if len(view.model) == 1:
        return _call("plan", "serving.plan", {"model": names.model(view.model[0])} | given)
    models = _several([names.model(name) for name in view.model]).code
    call = _call("plan", "serving.plan", {"model": Argument("model", None)} | given).removeprefix("plan = ")
    return f"plans = [\n    {call.replace(chr(10), chr(10) + '    ')}\n    for model in {models}\n]"


def plan_numbers(view: View, names: OwnNames) -> pd.DataFrame:
    """The rows of the tab, which are those of that code; what it has not simulated yet is simulated now."""
    (last,) = deque(plan_steps(view), maxlen=1)
    if last["plan"]["missing"]:
        raise ValueError(last["plan"]["missing"])
    return pd.DataFrame(last["plan"]["rows"])


# Of a measurement ------------------------------------------------------------------------------------------------


def measured_code(view: View, file: "Measured | None", name: str, step: tuple[int, ...] | None) -> str:
    """Python that explains a file of timings, or simulates a load test, as the tab Measured does; `name` is its own."""
    names = OwnNames(view)
    if file is None:
        return "\n".join([*names.lines(""), "# nothing to compute: no file is here"]) + "\n"
    from .measured import explained_as, says_models, server_given

    given: dict[str, Any]
    if file.kind == "timings":
        gpu = {} if file.gpu else {"gpu": names.gpu(view.gpu[0])}
        models = {} if says_models(file) else {"model": _several([names.model(name) for name in view.model])}
        given = {"timings": name} | gpu | models | _said(explained_as(view, step))
        body = f"{_call('ds', 'explain', given)}\ntable = wb.tables.explained(ds)"
    else:
        at = {"gpu": names.gpu(view.gpu[0]), "model": names.model(view.model[0])}
        given = {"load_test": name} | at | server_given(view)
        given |= {"draft": names.draft()} if "draft" in given else {}
        body = f"{_call('both', 'loadtest.compare', given)}\ntable = both.side_by_side()"
    return "\n".join([*names.lines(body), body]) + "\n"


def _said(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}


# Of any tab -------------------------------------------------------------------------------------------------------


def tab_code(view: View) -> str:
    """Python that computes the numbers of a view's tab."""
    names = OwnNames(view)
    made = {"server": server_code, "frontier": frontier_code, "plan": plan_code}.get(view.tab, grid_code)
    try:
        body = made(view, names)
    except ValueError as error:
        body = f"# nothing to compute: {error}"
    return "\n".join([*names.lines(body), body]) + "\n"


def tab_numbers(view: View) -> xr.Dataset | pd.DataFrame:
    """What that code computes; ValueError where there is nothing to compute."""
    names = OwnNames(view)
    if view.tab == "server":
        return server_numbers(view, names)
    if view.tab in ("frontier", "plan"):
        return (frontier_numbers if view.tab == "frontier" else plan_numbers)(view, names)
    return drawn(grid(view), view.points)
