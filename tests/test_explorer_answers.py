"""The explorer's answers, without a browser: Server, Frontier and Plan, and the work beside the page."""

import asyncio
import threading

import numpy as np
import pytest
from test_explorer import CONFIG

import workbench as wb
from workbench.explorer import View, answers, background, export, frontier, planning, servers
from workbench.explorer.answers import Question, times, tp_sizes
from workbench.serving import draft_model, estimate, plan
from workbench.serving.text_tables import assumed_lines

CARD = {
    "name": "Twice an L4", "vendor": "us", "architecture": "ada", "dense_tflops": {"fp16": 242.0, "bf16": 242.0},
    "memory": {"capacity_gb": 48, "bandwidth_gbs": 600}, "confidence": "unverified", "provenance": "made up",
    "sources": {"document": "none"},
}  # fmt: skip


def row_of(**fields):
    """The view's first row on the tab Server."""
    view = View(**fields)
    return servers.server_row(Question(view), view.gpu[0], view.model[0], view.tp)


def known(steps, view):
    """The sections as far as they are known already, which is what a page shows at once."""
    return next(steps(view))


def last(steps):
    """A section once it is complete."""
    *_, section = steps
    (found,) = section.values()
    return found


@pytest.fixture
def few(monkeypatch):
    """A catalog of three GPUs, and nothing kept of other tests."""
    monkeypatch.setattr(answers, "catalog_gpus", lambda: ["h100-sxm", "l4", "t4"])
    for module, names in ((servers, ("_memory", "_speed")), (frontier, ("_lines",)), (planning, ("_plans",))):
        for name in names:
            monkeypatch.setattr(module, name, answers.Kept(64))


# Server -----------------------------------------------------------------------------------------------------------

SERVED = {  # fields of a view, arguments of `estimate`, GPUs of a replica
    "plain": ({"gpu": ["l4"], "model": ["llama-3-8b"]}, {}, 1),
    "formats, sizes, price": (
        {"gpu": ["h100-sxm"], "model": ["llama-3-70b"], "tp": 2, "weight_dtype": "fp8", "kv_dtype": "fp8",
         "setting": {"batch_size": 8, "seq_len": 2048, "output": 512}, "server": {"price": 2.5}},
        {"weight_dtype": "fp8", "kv_dtype": "fp8", "price": 2.5}, 2,
    ),
    "does not fit": ({"gpu": ["h100-sxm"], "model": ["llama-3-70b"], "setting": {"batch_size": 8}}, {}, 1),
    "experts, engine, ideal": (
        {"gpu": ["h100-sxm"], "model": ["mixtral-8x7b"], "tp": 2, "launch_latency_us": 3.0,
         "server": {"ep": 4, "pp": 2, "engine": "sglang", "time_model": "ideal", "price": {"h100-sxm": 2.0}}},
        {"ep": 4, "pp": 2, "engine": "sglang", "time_model": "ideal", "price": 2.0, "launch_latency": 3e-6}, 8,
    ),
    "draft, prefix, caps": (
        {"gpu": ["h100-sxm"], "model": ["llama-3.1-8b"], "setting": {"batch_size": 4, "seq_len": 600, "output": 100},
         "server": {"draft": "llama-3.2-1b:4:0.7", "cached_prefix": 200, "max_num_batched_tokens": 4096,
                    "max_num_seqs": 64, "gpu_memory_utilization": 0.8}},
        {"draft": draft_model("llama-3.2-1b", depth=4, alpha=0.7), "cached_prefix": 200,
         "max_num_batched_tokens": 4096, "max_num_seqs": 64, "gpu_memory_utilization": 0.8}, 1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SERVED)
def test_a_server_s_numbers_are_those_of_estimate(case):
    fields, options, gpus = SERVED[case]
    view, row = View(**fields), row_of(**fields)
    one = view.setting
    ds = estimate(view.gpu[0], view.model[0], one.batch_size, one.seq_len, one.output, view.tp, **options).squeeze()
    for name, variable in {
        "weights": "weights", "activations": "activations", "workspace": "workspace", "memory": "memory",
        "usable": "usable_memory", "largest_batch": "largest_batch", **servers.SPEEDS,
    }.items():  # fmt: skip
        expected = ds[variable].item() if variable in ds else np.nan
        assert row[name] == (None if np.isnan(expected) else expected), name
    assert row["fits"] == ds.fits.item() == (case != "does not fit")
    if row["fits"]:
        assert row["per_gpu"] == row["per_replica"] / gpus


def test_memory_adds_up_and_what_is_missing_is_said():
    row = row_of(gpu=["h100-sxm"], model=["llama-3-70b"], setting={"batch_size": 8, "seq_len": 2048, "output": 512})
    assert sum(row[part] for part in servers.MEMORY_PARTS) == pytest.approx(row["memory"])
    # 70.55e9 weights of 2 bytes; 8 sequences of 2560 tokens, 80 layers, 8 heads of 128, K and V, 2 bytes
    assert row["weights"] == pytest.approx(141.1e9, rel=1e-3)
    assert row["cache"] == 8 * 2560 * 80 * 8 * 128 * 2 * 2
    assert row["missing"] == row["memory"] - row["usable"]
    assert row["free"] == 0
    needed, there, missing = (f"{row[name] / 1e9:.1f} GB" for name in ("memory", "usable", "missing"))
    assert row["words"].startswith(f"no: {needed} needed (weights 141.1, KV cache 6.7,")
    assert row["words"].endswith(f"{there} of 84.9 available, {missing} missing")


def test_a_row_that_cannot_run_says_why():
    assert "a machine of h100-sxm has 8" in row_of(gpu=["h100-sxm"], model=["llama-3-8b"], tp=16)["words"]
    long = row_of(gpu=["h100-sxm"], model=["llama-3-8b"], setting={"seq_len": 8192})
    assert long["words"] == "no: 8,320 tokens, 128 over the context of 8,192"
    assert not long["short"]
    prefix = row_of(gpu=["l4"], model=["llama-3-8b"], server={"cached_prefix": 2000})
    assert prefix["words"] == "cached_prefix = 2000: allowed is less than the shortest prompt, 1024"
    assert prefix["reason"] == "cannot run"
    assert (
        row_of(gpu=["v100-sxm2-16gb"], model=["llama-3-8b"], weight_dtype="fp8", activation_dtype="fp8")["reason"]
        == "no fp8 peak"
    )


@pytest.mark.parametrize(
    ("gpu", "model", "more"),
    [
        ("l4", "llama-3.1-8b", {}),
        ("rtx-4090", "mistral-7b-v0.1", {"batch_size": 64}),
        ("l4", "llama-3-8b", {"output": 1000}),
    ],
)
def test_the_longest_context_fits_and_one_token_more_does_not(gpu, model, more):
    setting = {"batch_size": 4, "seq_len": 64, "output": 128} | more
    longest = row_of(gpu=[gpu], model=[model], setting=setting)["longest_context"]
    prompt = longest - setting["output"]
    ds = estimate(gpu, model, setting["batch_size"], [prompt, prompt + 1], setting["output"])
    assert ds.fits.squeeze().values.tolist() == [True, False]


def test_no_context_fits_where_weights_do_not():
    assert row_of(gpu=["t4"], model=["llama-3-70b"])["longest_context"] is None


def test_the_answer_is_a_sentence():
    view = View(gpu=["rtx-4090"], model=["qwen3-30b-a3b"], weight_dtype="int4")
    section = known(servers.server_steps, view)["server"]
    (row,) = section["rows"]
    memory, there = (f"{row[name] / 1e9:.1f}" for name in ("memory", "usable"))
    assert section["sentences"] == [
        f"qwen3-30b-a3b on NVIDIA GeForce RTX 4090 24GB: yes, {memory} GB of {there} GB taken. First token after"
        f" {times(row['ttft'])}, then one every {times(row['tpot'])} ({row['per_user']:.0f} tokens/s for each user);"
        f" {row['per_replica']:.0f} tokens/s in all."
    ]
    ds = estimate("rtx-4090", "qwen3-30b-a3b", 1, 1024, 128, weight_dtype="int4")
    assert section["notes"] == [f"Formats: {ds.attrs['formats']}.", *assumed_lines(ds.attrs["assumed"])]


def test_of_many_servers_the_newest_are_answered_first():
    view = View(
        gpu=["a100-80gb-sxm", "h100-sxm", "rtx-4090"], model=["llama-3-8b", "qwen3-30b-a3b"], weight_dtype="int4"
    )
    section = known(servers.server_steps, view)["server"]
    assert section["sentences"][0].startswith("qwen3-30b-a3b on NVIDIA GeForce RTX 4090 24GB: yes")
    assert section["sentences"][-1] == "And 2 more below."
    assert section["model"] == "qwen3-30b-a3b"


def test_a_sentence_says_what_would_fit_and_whether_the_goal_is_met():
    small = known(servers.server_steps, View(gpu=["h100-sxm", "t4"], model=["llama-3-70b"]))["server"]["sentences"]
    assert small[0].endswith("available. With tp 4 it would fit.")
    fits = [estimate("h100-sxm", "llama-3-70b", 1, 1024, 128, tp).fits.item() for tp in (1, 2, 4)]
    assert fits == [False, False, True]
    assert small[1].endswith("No tp of one machine would do.")
    asked = {"gpu": ["h100-sxm"], "model": ["llama-3-8b"]}
    assert known(servers.server_steps, View(**asked, goal={"tpot": 1.0}))["server"]["sentences"][0].endswith(
        "It meets the goal."
    )
    row = row_of(**asked, goal={"ttft": 1e-3, "tpot": 1e-3})
    assert row["late"] == f"TTFT {times(row['ttft'])}, goal 1.00 ms; TPOT {times(row['tpot'])}, goal 1.00 ms"
    assert not row["meets"]
    assert row_of(**asked)["meets"] is None


def test_the_table_of_all_gpus_comes_memory_first_and_is_then_kept(few):
    view = View(gpu=["l4"], model=["llama-3-8b"], server={"price": 1.0}, cards={"twice-l4": CARD})
    first, *more = (section["server"] for section in servers.server_steps(view))
    assert first["table"] is None
    assert first["computing"] == {"done": 0, "of": 16}
    begun = next(section["table"] for section in more if section["table"])
    at = begun["columns"].index
    assert all(
        row[at("ttft")] is None and row[at("waiting")] == row[at("fits")]
        for row in begun["rows"]
        if row[at("gpu")] != "l4"
    )
    table = more[-1]["table"]
    assert more[-1]["computing"] is None
    assert [(row[at("gpu")], row[at("tp")]) for row in table["rows"]] == [
        (gpu, tp) for gpu in ("twice-l4", "h100-sxm", "l4", "t4") for tp in (1, 2, 4, 8)
    ]
    for row in table["rows"]:
        one = servers.server_row(Question(view), row[at("gpu")], "llama-3-8b", row[at("tp")])
        assert row == [one.get(name) for name in table["columns"]]
    assert known(servers.server_steps, view)["server"] == more[-1]
    other = known(servers.server_steps, View(**view.state() | {"server": {"price": 2.0}}))["server"]
    assert other["computing"] is not None  # a price changes every row


def test_own_gpus_and_models_are_asked_like_others(few):
    fields = {"gpu": ["twice-l4"], "cards": {"twice-l4": CARD}, "model": ["tiny-1b"], "configs": {"tiny-1b": CONFIG}}
    row = row_of(**fields)
    ds = estimate(answers.own_card("twice-l4", CARD), wb.from_hf_config(CONFIG, name="tiny-1b"), 1, 1024, 128)
    assert (row["ttft"], row["memory"]) == (ds.ttft.item(), ds.memory.item())
    faster = row_of(**fields | {"cards": {"twice-l4": CARD | {"memory": {"capacity_gb": 48, "bandwidth_gbs": 900}}}})
    assert faster["tpot"] < row["tpot"]  # another GPU of the same name is no kept answer


def test_tp_is_a_power_of_two_of_a_machine_or_the_view_s():
    assert tp_sizes(wb.gpu("h100-sxm"), also=3) == [1, 2, 3, 4, 8]
    assert tp_sizes(wb.gpu("gb200")) == [1, 2, 4, 8, 16, 32, 64]
    assert tp_sizes(wb.gpu("gb200"), most=8) == [1, 2, 4, 8]


def test_times_are_said_with_three_digits():
    seconds = (5e-6, 0.0402, 0.99996, 1.206, 75.0, 5400.0)
    assert [times(value) for value in seconds] == ["5.00 µs", "40.2 ms", "1.00 s", "1.21 s", "1.25 min", "1.50 h"]


def test_only_so_many_answers_are_kept():
    kept = answers.Kept(2)
    for key in "aba":
        assert kept.get(key, lambda key=key: [key]) == [key]
    kept.get("c", list)
    assert [kept.has(key) for key in "abc"] == [True, False, True]


# Frontier ---------------------------------------------------------------------------------------------------------


def test_the_frontier_s_points_are_those_of_estimate_and_its_front_that_of_pareto():
    goal = {"ttft": 0.2, "tpot": 0.02}
    fields = {"gpu": ["h100-sxm", "t4"], "model": ["llama-3-8b"], "setting": {"seq_len": 512, "output": 64}}
    section = last(frontier.frontier_steps(View(**fields, goal=goal)))
    rows = section["rows"]
    blocks = [
        ds.assign(per_gpu=ds.tokens_per_second / ds.tp)
        for ds in wb.estimates(["h100-sxm", "t4"], "llama-3-8b", frontier.FRONTIER_BATCHES, 512, 64, [1, 2, 4, 8])
    ]
    for row in rows:
        ds = estimate(row["gpu"], "llama-3-8b", row["batch_size"], 512, 64, row["tp"])
        values = (ds.tokens_per_second_per_user, ds.tokens_per_second / row["tp"], ds.ttft, ds.tpot)
        shown = [row[name] for name in ("x", "y", "ttft", "tpot")]
        assert shown == pytest.approx([value.item() for value in values], rel=1e-12)
        assert row["late"] == [name for name in ("ttft", "tpot") if row[name] > goal[name]]
        assert row["meets"] == (not row["late"])
    best = wb.pareto(blocks, "tokens_per_second_per_user", "per_gpu", maximize="per_gpu")
    front = {(row["gpu"], row["tp"], row["batch_size"]) for row in rows if row["front"]}
    assert front == set(best[["gpu", "tp", "batch_size"]].itertuples(index=False, name=None))
    assert {row["tp"] for row in rows if row["gpu"] == "t4"} == {2, 4, 8}
    assert section["left_out"] == [{"gpu": "t4", "model": "llama-3-8b", "tp": 1, "why": "weights do not fit"}]


def test_the_frontier_goes_as_far_as_the_engine_s_own_batches(few):
    view = View(gpu=["h100-sxm"], model=["llama-3-8b"], server={"max_num_seqs": 16})
    first = known(frontier.frontier_steps, view)["frontier"]
    assert first["rows"] == []
    assert first["computing"] == {"done": 0, "of": 4}
    rows = last(frontier.frontier_steps(view))["rows"]
    assert {row["batch_size"] for row in rows} == {1, 2, 4, 8, 16}
    assert rows[0]["meets"] is None
    assert known(frontier.frontier_steps, view)["frontier"]["computing"] is None
    one = last(frontier.frontier_steps(View(gpu=["h100-sxm"], model=["llama-3-8b"], setting={"output": 1})))
    assert one["rows"] == []
    assert {row["why"] for row in one["left_out"]} == {"an output of one token has no token after the first"}


# Plan -------------------------------------------------------------------------------------------------------------

PLANNED = {
    "gpu": ["l4", "h100-sxm"], "model": ["llama-3-8b"], "setting": {"seq_len": 512, "output": 128},
    "goal": {"ttft": 1.0, "tpot": 0.1, "rate": 3.0, "percentile": 90.0}, "server": {"max_num_seqs": 32},
}  # fmt: skip


@pytest.fixture(scope="module")
def planned():
    return list(planning.plan_steps(View(**PLANNED)))


@pytest.fixture(scope="module")
def whole():
    return plan(
        "llama-3-8b", gpu=["l4", "h100-sxm"], prompt=512, output=128, ttft=1.0, tpot=0.1, request_rate=3.0,
        percentile=90.0, max_num_seqs=32,
    )  # fmt: skip


def test_a_plan_s_rows_are_those_of_plan_each_simulated(planned):
    rows = planned[-1]["plan"]["rows"]
    assert len(rows) == 8
    for row in rows[::3]:
        table = plan(
            "llama-3-8b", gpu=row["gpu"], tp=row["tp"], prompt=512, output=128, ttft=1.0, tpot=0.1, request_rate=3.0,
            percentile=90.0, max_num_seqs=32, confirm=1,
        )  # fmt: skip
        first = table.iloc[0]
        assert row["simulated"]
        assert (row["verdict"] in ("best", "meets the SLO")) == (first.verdict == "best")
        for name in ("batch_size", "simulated_ttft_s", "simulated_tpot_s", "ttft_s", "tpot_s"):
            assert row[name] == first[name], name
        if first.verdict == "best":
            assert [row[name] for name in ("replicas", "gpus", "cost")] == [first.replicas, first.gpus, first.cost]
            assert row["cost_hour"] == row["gpus"] == row["replicas"] * row["tp"]
        else:
            assert row["replicas"] is None
            assert row["why"] == first.why


def test_the_best_of_a_plan_costs_what_the_best_of_all_together_costs(planned, whole):
    section = planned[-1]["plan"]
    best, *others = section["rows"]
    assert best["verdict"] == "best"
    assert best["cost"] == whole.cost[0]
    assert best["gpus"] == whole.gpus[0]
    assert all(row["verdict"] != "best" and (row["cost"] is None or row["cost"] >= best["cost"]) for row in others)
    (sentence,) = section["sentences"]
    count = f"{best['replicas']:.0f} replica{'s' * (best['replicas'] > 1)} of {best['tp']} x {best['name']}"
    assert sentence.startswith(f"Cheapest: {count} ({best['gpus']:.0f} GPU")
    assert f"simulated p90: TTFT {times(best['simulated_ttft_s'])}, TPOT {times(best['simulated_tpot_s'])}." in sentence
    assert section["at"].endswith("3 requests/s; TTFT up to 1.00 s and TPOT up to 100 ms for 90 % of them")


def test_a_plan_is_told_step_by_step_and_then_kept(planned):
    sections = [section["plan"] for section in planned]
    assert sections[0]["rows"] == []
    assert sections[0]["computing"] == {"done": 0, "of": 16}
    done = [section["computing"]["done"] for section in sections[:-1]]
    assert done == sorted(done)
    assert sections[-1]["computing"] is None
    estimated = next(section for section in sections if section["rows"])
    assert {row["why"] for row in estimated["rows"] if row["replicas"]} == {"to be simulated"}
    assert any("Cheapest so far" in section["sentences"][0] for section in sections if section["sentences"])
    assert known(planning.plan_steps, View(**PLANNED))["plan"] == sections[-1]


def test_a_plan_says_what_it_lacks_and_that_nothing_will_do(few):
    asks = known(planning.plan_steps, View(tab="plan"))["plan"]
    assert asks["missing"].startswith("Say how many requests")
    assert asks["rows"] == []
    goal = {"rate": 1.0, "considered": "priced"}
    unpriced = known(planning.plan_steps, View(goal=goal, server={"price": 2.0}))["plan"]
    assert unpriced["missing"].startswith("No GPU has a price of its own")
    never = View(gpu=["t4"], model=["llama-3-8b"], goal={"ttft": 1e-3, "rate": 0.1}, server={"max_num_seqs": 1})
    (sentence,) = last(planning.plan_steps(never))["sentences"]
    assert sentence.startswith("nothing keeps the goal: 2 x NVIDIA T4")
    assert "TTFT" in sentence
    own = View(gpu=["t4"], model=["llama-3-8b"], goal={"rate": 0.1}, server={"engine": "vllm", "ep": 2})
    assert {row["why"] for row in last(planning.plan_steps(own))["rows"]} == {"no experts to spread"}


def test_of_all_gpus_those_far_from_the_cheapest_are_not_simulated(few):
    fields = PLANNED | {"gpu": ["t4"], "server": {"max_num_seqs": 32, "price": {"l4": 0.8, "h100-sxm": 30.0}}}
    view = View(**fields | {"goal": PLANNED["goal"] | {"considered": "priced"}})
    section = last(planning.plan_steps(view))
    assert {row["gpu"] for row in section["rows"]} == {"l4", "h100-sxm"}
    best, far = section["rows"][0], [row for row in section["rows"] if row["verdict"] == "not simulated"]
    assert best["gpu"] == "l4"
    assert best["cost_hour"] == 0.8 * best["gpus"]
    assert f"{best['cost_hour']:.2f} an hour" in section["sentences"][0]
    assert {"h100-sxm"} <= {row["gpu"] for row in far}
    assert all(row["cost"] > 1.5 * best["cost"] for row in far)
    assert {row["why"] for row in far} == {"not simulated: costs more than 1.5 times the best"}


def test_a_gpu_without_a_price_is_not_called_cheap(few):
    view = View(**PLANNED | {"gpu": ["h100-sxm", "l4"], "server": {"max_num_seqs": 32, "price": {"l4": 0.8}}})
    section = last(planning.plan_steps(view))
    assert {row["gpu"] for row in section["rows"] if row["cost"] is not None} == {"l4"}
    assert "L4" in section["sentences"][0]
    assert "H100" not in section["sentences"][0]
    (other,) = [row for row in section["rows"] if row["gpu"] == "h100-sxm"]
    assert (other["verdict"], other["cost_hour"]) == ("no price", None)
    assert "h100" not in export.code(view.model_copy(update={"tab": "plan"}))
    rows = last(frontier.frontier_steps(view))["rows"]
    assert {row["cost"] is None for row in rows if row["gpu"] == "h100-sxm"} == {True}
    assert {row["cost"] is None for row in rows if row["gpu"] == "l4"} == {False}


# Beside the page --------------------------------------------------------------------------------------------------


class Told(list):
    """What was told, and a wait for the next of it."""

    def __init__(self):
        super().__init__()
        self.new = asyncio.Event()

    def __call__(self, answer):
        self.append(answer)
        self.new.set()

    async def next(self):
        await asyncio.wait_for(self.new.wait(), 20)
        self.new.clear()
        return self[-1]


def test_the_newest_question_is_answered_alone_and_from_the_loop(monkeypatch):
    monkeypatch.setattr(background, "PAUSE", 0)
    monkeypatch.setattr(background, "BETWEEN", -1)
    asked, go = threading.Event(), threading.Event()
    steps = []

    def old():
        yield "old"
        asked.set()
        go.wait(20)
        yield "late"
        steps.append("asked for though nobody waits")

    async def page():
        told, failed = Told(), Told()
        beside = background.Background(lambda answer: told((answer, threading.get_ident())), failed)
        beside.start(old())
        assert await told.next() == ("old", threading.get_ident())
        await asyncio.to_thread(asked.wait, 20)
        beside.start(iter(["new"]))
        go.set()
        assert await told.next() == ("new", threading.get_ident())
        beside.start(broken())
        assert str(await failed.next()) == "broken"
        return told

    def broken():
        raise ValueError("broken")
        yield

    before = set(threading.enumerate())
    assert [answer for answer, _ in asyncio.run(page())] == ["old", "new"]
    for thread in set(threading.enumerate()) - before:
        thread.join(20)
    assert steps == []


def test_only_what_is_unfinished_is_worked_on(monkeypatch, few):
    started = []
    monkeypatch.setattr(background.Background, "start", lambda self, steps: started.append(steps))
    shown = wb.explore(gpu="l4", model="llama-3-8b", tab="plan")  # which asks for a rate first
    shown.update(tab="roofline")
    assert started == []
    shown.update(tab="frontier")
    assert last(started.pop())["computing"] is None
    shown.update(tab="frontier")
    assert started == []


def test_a_script_gets_the_whole_answer():
    told = []
    background.Background(told.append, told.append).start(iter([1, 2, 3]))
    assert told == [3]


def test_a_widget_of_a_script_is_complete(few):
    shown = wb.explore(tab="server", gpu="l4", model="llama-3-8b")
    assert shown.picture["server"]["computing"] is None
    assert len(shown.picture["server"]["table"]["rows"]) == 12
    shown.update(tab="frontier")
    assert "server" not in shown.picture
    assert shown.picture["frontier"]["computing"] is None
    assert shown.picture["frontier"]["rows"]
    shown.set("price", "l4=0.8, H100 = 2.5")
    assert shown.view.server.price == {"l4": 0.8, "h100-sxm": 2.5}
    assert shown.controls["values"]["price"] == "l4=0.8, h100-sxm=2.5"
    for wrong in ("l4=cheap", "cheap"):
        shown.set("price", wrong)
        assert shown.picture["wrong"]["message"].endswith("expected a number, or GPU=PRICE, e.g. l4=0.8")
    shown.set("price", "")
    assert shown.view.server.price is None
    assert shown.picture["wrong"] is None
