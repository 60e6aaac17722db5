"""What every step of a simulation computes: by hand, whatever the policy, and as a chart."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from workbench import plots, tables
from workbench.simulation import Server, closed_loop, simulate, trace
from workbench.simulation.policies import SCHEDULERS

#: What is computed of two requests, of which the second has to wait, and the first while it is computed.
BY_HAND = [
    {"start_s": 0.0, "end_s": 1.0, "request": 0, "decoding": False, "tokens": 20},
    {"start_s": 1.0, "end_s": 2.0, "request": 1, "decoding": False, "tokens": 20},
    {"start_s": 2.0, "end_s": 2.5, "request": 0, "decoding": True, "tokens": 1},
    {"start_s": 2.0, "end_s": 2.5, "request": 1, "decoding": True, "tokens": 1},
]


def small(**changes):
    settings = {"gpu": "a100-80gb-sxm", "model": "llama-2-7b", "engine": None, "max_num_seqs": 2}
    return Server(**settings | {"max_num_batched_tokens": 20, "max_model_len": 64} | changes)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("recompute", [[(2, False, 8), (0, True, 1)], [(0, True, 1)]]),
        ("prefill_first", [[(2, False, 8)], [(0, True, 1)], [(0, True, 1)]]),
    ],
)
def test_prompts_in_parts_beside_decoding_or_before_it(policy, expected):
    # 20 tokens a step: the first prompt takes two, the second what the latter has left. It ends with its second token,
    # and the third takes its place.
    work = trace(sent_s=[0, 0, 0], prompt_tokens=[32, 8, 8], output_tokens=[4, 2, 1])
    table = simulate(small(policy=policy), work, steps=True)
    rows = pd.DataFrame(table.attrs["steps"])
    found = [
        list(step[["request", "decoding", "tokens"]].itertuples(index=False, name=None))
        for _, step in rows.groupby("start_s")
    ]
    both = [[(0, False, 20)], [(0, False, 12), (1, False, 8)], [(0, True, 1), (1, True, 1)]]
    assert found == both + expected
    assert rows.end_s.max() == table.last_token_s.max() == table.last_token_s[0]


@pytest.mark.parametrize("policy", SCHEDULERS)
@pytest.mark.parametrize("groups", [{}, {"gpu": "h100-sxm", "model": "mixtral-8x7b", "ep": 2}])
def test_steps_add_up_to_what_was_asked_for(policy, groups):
    work = closed_loop(6, requests=15, prompt=[10, 30, 50], output=[2, 5, 9])
    table = simulate(small(policy=policy, max_num_seqs=4, **groups), work, steps=True)
    rows, engine = pd.DataFrame(table.attrs["steps"]), table.attrs["engine"]
    prompts, decoding = rows[~rows.decoding], rows[rows.decoding]
    np.testing.assert_array_equal(prompts.groupby("request").tokens.sum(), table.prompt_tokens)
    np.testing.assert_array_equal(decoding.groupby("request").tokens.sum(), table.output_tokens - 1)
    np.testing.assert_array_equal(prompts.groupby("request").end_s.max(), table.first_token_s)
    np.testing.assert_array_equal(decoding.groupby("request").end_s.max(), table.last_token_s)
    ends = rows.groupby("start_s").end_s.agg(["min", "max"])
    assert len(ends) == engine["steps"]
    np.testing.assert_array_equal(ends["min"], ends["max"])
    np.testing.assert_allclose(ends.index[1:], ends["max"][:-1], rtol=1e-12)  # one after another
    assert rows.groupby("start_s").tokens.sum().max() <= 20 * (2 if groups else 1)


def test_steps_change_nothing_and_are_kept_only_where_asked_for():
    work = closed_loop(3, requests=9, prompt=30, output=5)
    plain, kept = simulate(small(), work), simulate(small(), work, steps=True)
    pd.testing.assert_frame_equal(plain, kept, check_like=True)
    assert set(kept.attrs) - set(plain.attrs) == {"steps"}
    with pytest.raises(ValueError, match="unknown steps 'yes'"):
        simulate(small(), work, steps="yes")


def bars(ax):
    """From where to where each bar of a row goes [ms], by colour."""
    found = {}
    for bar in ax.patches:
        row = round(bar.get_y() + bar.get_height() / 2)
        color = tuple(round(part, 2) for part in bar.get_facecolor()[:3])
        found.setdefault(color, []).append((row, bar.get_x(), bar.get_x() + bar.get_width()))
    return list(found.values())


def test_the_chart_has_a_box_for_each_and_what_is_between_them():
    table = pd.DataFrame({"sent_s": [0.0, 0.5]})
    table.attrs["steps"] = BY_HAND
    ax = plots.steps(table, title="Two")
    waiting, prompts, decoding, held = bars(ax)
    assert waiting == [(1, 500, 1000)]
    assert prompts == [(0, 0, 1000), (1, 1000, 2000)]
    assert decoding == [(0, 2000, 2500), (1, 2000, 2500)]
    assert held == [(0, 1000, 2000)]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["1", "2"]
    assert [text.get_text().split(",")[0] for text in ax.get_legend().get_texts()] == [
        "waiting for its first step", "prompt", "decoding", "held up by steps of others",
    ]  # fmt: skip
    assert (ax.get_title(), ax.get_xlabel(), ax.get_xlim()[0]) == ("Two", "Time (ms)", 0)
    plt.close()


def test_the_table_of_several_runs():
    run = pd.DataFrame({"sent_s": [0.0, 0.5]})
    run.attrs["steps"] = BY_HAND
    rows = tables.step_rows({"a": run, "b": run})
    assert list(rows) == ["schedule", "start [s]", "end [s]", "request", "phase", "tokens"]
    assert list(rows.iloc[5]) == ["b", 1.0, 2.0, 2, "prefill", 20]
    assert rows.phase.tolist() == ["prefill", "prefill", "decode", "decode"] * 2


def test_runs_without_steps_are_refused():
    run = simulate(small(), closed_loop(1, requests=1, prompt=8, output=2))
    with pytest.raises(ValueError, match="^table has no steps: simulate with steps=True$"):
        plots.steps(run)
    with pytest.raises(ValueError, match="^a has no steps: simulate with steps=True$"):
        tables.step_rows({"a": run})
