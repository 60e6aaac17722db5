"""What a GPU's memory holds, against engines' own figures and by hand."""

import numpy as np
import pandas as pd
import pytest

import workbench as wb
from workbench.catalog import EngineMemory, Reserve, engines
from workbench.catalog import engine as find_engine
from workbench.common.project import DATA
from workbench.common.yaml_records import validated
from workbench.servers import Replica, memory


def server(gpu, model, **options):
    return Replica(wb.gpu(gpu), wb.model(model), **options)


@pytest.mark.parametrize(
    ("model", "published"),
    [
        ("llama-2-7b", 524_288), ("llama-2-7b-awq", 524_288), ("llama-3-8b", 131_072), ("mixtral-8x7b", 131_072),
        ("deepseek-v3", 70_272), ("llama-2-70b", 327_680),
    ],
)  # fmt: skip
def test_kv_bytes_per_token(model, published):
    assert memory.kv_bytes_per_token(server("h200-sxm", model)) == published


def test_active_parameters_of_mixtral():  # Jiang et al. 2024 (arXiv 2401.04088), section 1: 13B active, 47B in all
    mixtral = wb.model("mixtral-8x7b")
    assert mixtral.active_parameters == pytest.approx(12.9e9, rel=0.005)
    assert memory.weights(server("h200-sxm", "mixtral-8x7b")) == pytest.approx(2 * 46.7e9, rel=0.001)


def test_weights_are_the_checkpoints_size():
    for name in ("llama-3-8b", "llama-2-70b", "gpt2", "gemma-2-9b", "qwen2.5-7b"):
        published = wb.model(name).published_parameters
        assert memory.weights(server("h200-sxm", name)) == pytest.approx(2 * published, rel=0.01), name


def test_weights_of_an_awq_checkpoint_by_hand():
    # 32 layers of 202,375,168 weights at 0.5 + 2.5 / 128 byte; embeddings and lm_head in 16 bit
    by_hand = 32 * 202_375_168 * (0.5 + 2.5 / 128) + 2 * 2 * 32000 * 4096
    assert memory.weights(server("t4", "llama-2-7b-awq")) == pytest.approx(by_hand, rel=1e-12)
    assert memory.weights(server("t4", "llama-2-7b", weight_dtype="awq")) == pytest.approx(by_hand, rel=1e-12)


def test_weights_are_shared_by_tp_and_stages_and_experts():
    whole = memory.weights(server("h200-sxm", "llama-2-70b"))
    assert memory.weights(server("h200-sxm", "llama-2-70b", tp=8)) == whole / 8
    embedding = 8192 * 32000 * 2  # of the first stage, as large as lm_head of the last
    staged = memory.weights(server("h200-sxm", "llama-2-70b", pp=4))
    assert staged == (whole - 2 * embedding) / 4 + embedding
    deepseek = wb.model("deepseek-v3")
    routed = 58 * 256 * 3 * 7168 * 2048 * (1 + 4 / 128**2)  # a byte each, and 4 for every block of 128 x 128
    alone, spread = (memory.weights(Replica(wb.gpu("h200-sxm"), deepseek, ep=ep)) for ep in (1, 8))
    assert alone - spread == pytest.approx(routed * 7 / 8)


def test_the_fullest_stage_of_a_pipeline_counts():
    # 32 layers in 3 stages: two of 11. Llama's embedding in 16 bit is heavier than a head in 8, and lighter than in 32
    llama = {"gpu": "h200-sxm", "model": "llama-3-8b", "pp": 3}
    assert memory.kv_bytes_per_token(server(**llama)) == 131_072 * 11 / 32
    layers, vocabulary = memory.layer_weights(server("h200-sxm", "llama-3-8b")), 128256 * 4096
    for head, ends in (("int8", 2), ("fp32", 4)):
        staged = memory.weights(server(**llama, lm_head_dtype=head))
        assert staged == pytest.approx(layers * 11 / 32 + ends * vocabulary, rel=1e-12)


def test_weights_of_gpt2_by_hand():
    # 12 layers of 12 h^2, the vocabulary once for embedding and head, 1,024 positions; norms and biases are left out
    assert memory.weights(server("t4", "gpt2")) == 2 * (12 * 12 * 768**2 + (50257 + 1024) * 768)


def test_weights_of_an_mxfp4_checkpoint_by_hand():
    # gpt-oss-20b: 24 layers with 32 experts of 3 x 2880 x 2880 at 0.5 + 1 / 32 byte; attention and router in 16 bit
    attention, experts, router = 2 * 2880 * 64 * (64 + 8), 32 * 3 * 2880 * 2880, 2880 * 32
    by_hand = 24 * (2 * attention + (0.5 + 1 / 32) * experts + 2 * router)
    assert memory.layer_weights(server("h200-sxm", "gpt-oss-20b")) == pytest.approx(by_hand, rel=1e-12)


def test_kv_cache_follows_its_own_format_and_whole_blocks():
    half = server("h200-sxm", "llama-3-8b", kv_dtype="int4")
    assert memory.kv_bytes_per_token(half) == 131_072 / 4
    assert memory.kv_bytes_per_sequence(half, 17) == 32 * 131_072 / 4
    assert memory.kv_bytes_per_sequence(half, 0) == 0


def test_a_window_bounds_the_cache_of_its_layers():
    mistral = server("h200-sxm", "mistral-7b")  # 4096 tokens on all 32 layers
    assert memory.kv_bytes_per_sequence(mistral, 32_768) == 4096 * 131_072
    gemma = server("h200-sxm", "gemma-2-9b")  # 4096 tokens on 21 of 42
    per_token = memory.kv_bytes_per_token(gemma)
    assert memory.kv_bytes_per_sequence(gemma, 8192) == pytest.approx((4096 + 8192) / 2 * per_token)


def test_a_window_is_kept_in_whole_blocks():
    narrow = wb.model("mistral-7b")
    narrow = narrow.model_copy(update={"sliding_window": narrow.sliding_window.model_copy(update={"size": 100})})
    assert memory.kv_bytes_per_sequence(Replica("h200-sxm", narrow), 1000) == 112 * 131_072  # 7 blocks of 16


def test_kv_heads_are_copied_beyond_their_number_and_stages_have_their_layers():
    assert memory.kv_bytes_per_token(server("gb200", "llama-3-8b", tp=16)) == 131_072 / 8
    assert memory.kv_bytes_per_token(server("h200-sxm", "deepseek-v3", tp=8)) == 70_272
    assert memory.kv_bytes_per_token(server("h200-sxm", "llama-3-8b", pp=4)) == 131_072 / 4


def test_activations_by_hand():
    # a token: residual, hidden state, its normalized copy, gate, up and their product in fp16
    by_hand = 8192 * (3 * 4096 + 3 * 11008) * 2
    assert memory.activations(server("t4", "llama-2-7b"), tokens=8192, sequences=256) == by_hand
    # the sampler comes after the layers: 38.5 bytes of each logit in vLLM; in 16 bits and in fp32, with TensorRT-LLM
    for engine, width in ((None, 38.5), ("vllm", 38.5), ("trtllm", 6)):
        sampling = memory.activations(server("h200-sxm", "llama-3-8b", engine=engine, tp=2), tokens=16, sequences=1024)
        assert sampling == 1024 * 128256 * width
    # a narrow MLP: the attention is wider, with 32 heads of queries and of outputs, 8 of keys and of values
    narrow = wb.model("llama-2-7b").model_copy(update={"intermediate_size": 3000, "n_kv_heads": 8})
    attention = memory.activations(Replica("t4", narrow), tokens=1, sequences=0)
    assert attention == (3 * 4096 + (32 + 32 + 8 + 8) * 128) * 2
    mixtral = memory.activations(server("h200-sxm", "mixtral-8x7b"), tokens=1, sequences=0)
    assert mixtral == (3 * 4096 + 2 * (3 * 14336 + 4096)) * 2


def test_a_gpu_without_a_capacity():
    card = wb.gpu("t4")
    unknown = {"capacity_gb": None, "reported_gib": None}
    card = card.model_copy(update={"memory": card.memory.model_copy(update=unknown)})
    with pytest.raises(ValueError, match="t4 has no memory.capacity_gb in its catalog entry"):
        memory.device_memory(Replica(card, wb.model("llama-2-7b")))


# What engines print when they start -------------------------------------------------------------------------------

LOGS = pd.read_csv(str(DATA / "serving" / "startup-logs.csv"), comment="#")
LOGS["weight_dtype"] = LOGS.weight_dtype.astype(object).where(LOGS.weight_dtype.notna(), None)
#: Logs that come out more than 6 % off, and why.
OFF = {
    (
        "vllm",
        "main of 2023-12",
        "llama-2-70b",
    ): "13 GiB that its thread puts down to NCCL, in a version that counted all",
    ("vllm", "unstated (2025-07)", "qwen3-235b-a22b"): "a connector for the cache's transfer ran beside it",
    ("vllm", "unstated (2026-01)", "gpt-oss-120b"): "4-bit experts are padded: weights of 64.4 GiB in place of 60.7",
    ("vllm", "unstated (2025-10)", "gpt-oss-120b"): "4-bit experts are padded: weights of 64.4 GiB in place of 60.7",
    ("sglang", "unstated (2025-02)", "qwen2.5-7b"): "a desktop's GPU: 22.76 of 23.58 GiB free before the process' own",
    ("trtllm", "0.19.0", "llama-3.1-8b"): "an engine of TensorRT, built for 2,048 sequences, with buffers for each",
}


def logged(row):
    """The replica of a log, its largest step, and its KV cache on one GPU [byte]."""
    formats = {"weight_dtype": row.weight_dtype, "kv_dtype": row.kv_dtype}
    replica = server(row.gpu, row.model, tp=row.tp, engine=row.engine, **formats)
    cache = row.kv_cache_gib * 2**30
    if np.isnan(cache):
        cache = row.kv_cache_tokens * memory.kv_bytes_per_token(replica)
    return replica, {"tokens": row.max_num_batched_tokens, "sequences": row.max_num_seqs}, cache


def off(row):
    replica, step, cache = logged(row)
    return memory.left_for_cache(replica, **step, gpu_memory_utilization=row.memory_share) / cache - 1


def test_kv_capacity_is_what_engines_log():
    errors = np.abs([off(row) for row in LOGS.itertuples()])
    assert len(errors) >= 25
    assert np.median(errors) < 0.04
    beyond = {
        (row.engine, row.version, row.model)
        for row, error in zip(LOGS.itertuples(), errors, strict=True)
        if error > 0.06
    }
    assert beyond == set(OFF)


@pytest.mark.parametrize(("max_model_len", "tokens"), [(20000, 31_232), (29000, 23_648)])
def test_kv_capacity_of_a_3090_shrinks_with_its_largest_step(max_model_len, tokens):
    # "GPU blocks: 1952" and "1478" of 16 tokens: a version whose steps hold max_model_len tokens
    ds = wb.serving.estimate("rtx-3090", "llama-3.1-8b", max_num_batched_tokens=max_model_len)
    assert ds.kv_capacity.item() == pytest.approx(tokens, rel=0.06)


def test_weights_are_what_engines_log():
    padded = LOGS.model == "gpt-oss-120b"
    for row in LOGS[LOGS.weights_gib.notna() & ~padded].itertuples():
        assert memory.weights(logged(row)[0]) / 2**30 == pytest.approx(row.weights_gib, rel=0.07), row


def test_activations_are_what_engines_log():
    counted = LOGS.version == "0.31.0"  # with CUDA graphs in them
    rows = LOGS[LOGS.activations_gib.notna() & ~counted]
    assert len(rows) >= 8
    for row in rows.itertuples():
        replica, step, _ = logged(row)
        assert memory.activations(replica, **step) / 2**30 == pytest.approx(row.activations_gib, rel=0.07), row


def test_tokens_and_gib_of_a_log_agree():
    both = LOGS[LOGS.kv_cache_gib.notna() & LOGS.kv_cache_tokens.notna()]
    assert len(both) >= 8
    for row in both.itertuples():
        replica, _, cache = logged(row)
        assert row.kv_cache_tokens * memory.kv_bytes_per_token(replica) == pytest.approx(cache, rel=0.015), row


# An engine's rule -------------------------------------------------------------------------------------------------


def test_each_engine_shares_memory_out_by_its_own_rule():
    # Llama-3-8B on an H100, with workspace of 1e9: vLLM a share of all, TensorRT-LLM of what is free, SGLang of weights
    # and cache together
    step = {"tokens": 2048, "sequences": 16, "workspace": 1e9, "gpu_memory_utilization": 0.8}
    left = {name: memory.left_for_cache(server("h100-sxm", "llama-3-8b", engine=name), **step) for name in engines()}
    total, stored, alive = 79.11 * 2**30, 2 * 8_030_000_000, 2048 * (3 * 4096 + 3 * 14336) * 2
    by_hand = {
        "vllm": 0.8 * total - 1e9 - stored - alive, "pytorch": 0.8 * total - 1e9 - stored - alive,
        "trtllm": 0.8 * (total - 1e9 - stored - alive), "sglang": 0.8 * (total - 1e9) - stored,
    }  # fmt: skip
    assert left == {name: pytest.approx(bytes_, rel=1e-3) for name, bytes_ in by_hand.items()}
    assert memory.left_for_cache(server("h100-sxm", "llama-3-8b", engine=None), **step) == left["vllm"]


def test_none_is_the_engine_s_own_share_and_workspace():
    step = {"tokens": 2048, "sequences": 256}
    for name in ("vllm", "trtllm", "pytorch"):
        one, rule = server("h100-sxm", "llama-3-8b", engine=name), find_engine(name).memory
        given = memory.left_for_cache(
            one, **step, gpu_memory_utilization=rule.share, workspace=2**30 * rule.context_gib
        )  # fmt: skip
        assert memory.left_for_cache(one, **step) == given
    # more GPUs have buffers for each other, however they share
    for shared in ({"tp": 2}, {"pp": 2}):
        one = server("h100-sxm", "llama-3-8b", **shared)
        assert memory.workspace_of(one) == pytest.approx(2**30 * (0.26 + 0.4))
    assert memory.workspace_of(server("h100-sxm", "llama-3-8b"), 5.0) == 5.0


def test_sglang_s_share_is_what_its_reserve_leaves():
    # 0.828 of an H100 for Qwen3-32B (github.com/sgl-project/sglang/issues/29092): steps of 8,192 tokens, graphs of 256
    one = server("h100-sxm", "qwen3-32b", engine="sglang")
    reserve = find_engine("sglang").memory.reserve
    kept = reserve.bytes(one.gpu.memory_bytes, tokens=8192, gpus=1)
    assert kept == 2**20 * (512 + 1.5 * 8192 + 2 * 256 + 128)
    assert 1 - kept / one.gpu.memory_bytes == pytest.approx(0.828, abs=0.01)
    left = memory.left_for_cache(one, tokens=8192, sequences=256)
    share = 1 - kept / one.gpu.memory_bytes
    assert left == memory.left_for_cache(one, tokens=8192, sequences=256, gpu_memory_utilization=share)
    assert reserve.bytes(80e9, tokens=1, gpus=1) == 10 * 2**30
    assert reserve.bytes(24e9, tokens=16, gpus=2) == 2**20 * (512 + 16 * 1.5625 + 2 * 128)


def test_70b_in_fp8_fits_one_h100_with_tensorrt_llm():
    # TensorRT-LLM publishes Llama-3.1-70B in fp8 on one H100 80GB (3,378 tokens/s of 128 and 128)
    fp8 = {"weight_dtype": "fp8", "activation_dtype": "fp8", "kv_dtype": "fp8"}
    ds = wb.serving.estimate("h100-sxm", "llama-3.1-70b", 64, 128, 128, engine="trtllm", **fp8)
    assert ds.fits.item()


def test_what_a_server_may_fill_is_what_fits():
    for name in ("vllm", "trtllm", "sglang"):
        ds = wb.serving.estimate("h100-sxm", "llama-3-8b", max_num_seqs=4000, engine=name).squeeze()
        most = int(ds.largest_batch)
        ds = wb.serving.estimate("h100-sxm", "llama-3-8b", [most, most + 1], max_num_seqs=4000, engine=name).squeeze()
        assert ((ds.memory <= ds.usable_memory) == ds.fits).all()
        assert ds.fits.values.tolist() == [True, False]
        assert ds.workspace.item() == memory.workspace_of(server("h100-sxm", "llama-3-8b", engine=name))


def test_graphs_that_the_share_holds_are_in_the_workspace():
    rule = find_engine("vllm").memory
    counted = rule.model_copy(update={"graphs_counted": True})
    assert counted.workspace(1) - rule.workspace(1) == pytest.approx(2**30 * rule.graphs_gib)
    assert "outside of it" in str(rule)
    assert "outside of it" not in str(counted)
    assert "CUDA graphs" not in str(find_engine("sglang").memory)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"share": None}, "share = None and reserve = None: allowed is one of the two"),
        ({"share": 1.5}, "share = 1.5: Input should be less than or equal to 1"),
        ({"of": "half"}, "of = 'half': Input should be 'total', 'free' or 'static'"),
        ({"graphs_counted": True}, "graphs_gib is missing: with graphs_counted the share has to hold them"),
        ({"peers_gib": -1.0}, "peers_gib = -1.0: Input should be greater than or equal to 0"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(fields, message):
    rule = {"of": "total", "share": 0.9, "context_gib": 0.3, "peers_gib": 0.4, "logit_copies": 1.5}
    assert validated(EngineMemory, rule, "here").share == 0.9
    with pytest.raises(ValueError, match=message):
        validated(EngineMemory, rule | fields, "here")


def test_a_reserve_has_all_of_its_numbers():
    with pytest.raises(ValueError, match="here: token_mib: Field required"):
        validated(Reserve, {"mib": 1.0}, "here")
