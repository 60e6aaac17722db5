"""What a GPU's memory holds, against engines' own figures and by hand."""

import pytest

import workbench as wb
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
    routed = 58 * 256 * 3 * 7168 * 2048  # one byte each
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
    # a token: hidden state, residual, gate, up and their product in fp16; a sequence: logits in fp16 and fp32
    by_hand = 2048 * (2 * 4096 + 3 * 11008) * 2 + 256 * 32000 * 6
    assert memory.activations(server("t4", "llama-2-7b"), tokens=2048, sequences=256) == by_hand
    # a narrow MLP: the attention is wider, with 32 heads of queries and of outputs, 8 of keys and of values
    narrow = wb.model("llama-2-7b").model_copy(update={"intermediate_size": 3000, "n_kv_heads": 8})
    attention = memory.activations(Replica("t4", narrow), tokens=1, sequences=0)
    assert attention == (2 * 4096 + (32 + 32 + 8 + 8) * 128) * 2
    mixtral = memory.activations(server("h200-sxm", "mixtral-8x7b"), tokens=1, sequences=0)
    assert mixtral == (2 * 4096 + 2 * (3 * 14336 + 4096)) * 2


def test_a_gpu_without_a_capacity():
    card = wb.gpu("t4")
    unknown = {"capacity_gb": None, "reported_gib": None}
    card = card.model_copy(update={"memory": card.memory.model_copy(update=unknown)})
    with pytest.raises(ValueError, match="t4 has no memory.capacity_gb in its catalog entry"):
        memory.device_memory(Replica(card, wb.model("llama-2-7b")))
