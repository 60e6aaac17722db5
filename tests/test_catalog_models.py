"""Model catalog: every entry against its published parameter count, and sizes that papers print."""

import pytest
from counted_models import MATRICES

from workbench import catalog

MODELS = catalog.models()
KIB = 2**10


def test_catalog_has_models_of_every_family():
    assert len(MODELS) >= 140
    families = {catalog.model(name).family for name in MODELS}
    assert {"llama-2", "mistral", "mixtral", "qwen2.5", "qwen3", "gemma-3", "opt", "falcon", "deepseek"} <= families
    assert {"qwen3-next", "qwen3.5", "kimi", "glm-4.5", "glm-5", "minimax", "llama-4", "gemma-4"} <= families
    assert {"nemotron-h", "granite-4", "olmo-3", "exaone-4", "cohere", "ernie-4.5", "hunyuan", "mimo"} <= families


@pytest.mark.parametrize("name", MODELS)
def test_entry_loads_and_names_its_sources(name):
    model = catalog.model(name)
    assert model.id == name == name.lower()
    assert {"config", "parameters"} <= model.sources.keys()


# 1 %: norms and biases, which `parameters` leaves out, are at most 0.1 % here (GPT-2), and a count that a paper rounds
# to two or three digits is up to 0.5 % off (OPT-66B). A wrong size, head count or tied embedding moves it by more.
@pytest.mark.parametrize("name", [name for name in MODELS if catalog.model(name).published_parameters])
def test_parameters_agree_with_the_published_count(name):
    model = catalog.model(name)
    assert model.parameters == pytest.approx(model.published_parameters, rel=0.01)


def test_only_opt_13b_has_no_published_count():
    # The paper's 13B is rounded up by more than 1 % from the sizes' 12.85 billion; no exact count is published.
    assert [name for name in MODELS if not catalog.model(name).published_parameters] == ["opt-13b"]
    assert catalog.model("opt-13b").parameters == pytest.approx(13e9, rel=0.015)


@pytest.mark.parametrize("name", MATRICES)
def test_parameters_are_what_transformers_counts(name):
    """To the last element; norms and biases, which its total has besides, are under 0.1 %."""
    model = catalog.model(name)
    assert model.parameters == MATRICES[name]
    assert 0 < model.published_parameters - model.parameters < 1e-3 * model.parameters


def test_parameters_of_layers_of_their_own_by_hand():
    """Nemotron Super 49B: 49 attentions, and MLPs by its `ffn_mult`, each 2/3 m h wide, up to a multiple of 256."""
    widths = {5.25: 28_672, 3.28125: 17_920, 2.625: 14_336, 1.3125: 7168, 1.0: 5632, 0.5: 2816}
    counts = {5.25: 49, 3.28125: 1, 2.625: 6, 1.3125: 10, 1.0: 8, 0.5: 6}  # of its 80 layers
    model = catalog.model("nemotron-super-49b")
    assert sorted(model.intermediate_by_layer) == sorted(widths[m] for m, count in counts.items() for _ in range(count))
    attention = 49 * 8192 * 128 * (64 + 2 * 8 + 64)
    assert model.parameters == attention + 3 * 8192 * sum(widths[m] * counts[m] for m in counts) + 2 * 128_256 * 8192


# Norms by hand: two vectors of h a layer and one at the end (Llama); two more of head_dim a layer (Qwen3); four of h a
# layer (Gemma 2); attention biases on q, k, v (Qwen2.5). With them the count is the checkpoint's to the last weight.
@pytest.mark.parametrize(
    ("name", "left_out"),
    [
        ("llama-7b", 2 * 32 * 4096 + 4096),
        ("llama-3.1-405b", 2 * 126 * 16384 + 16384),
        ("mixtral-8x7b", 2 * 32 * 4096 + 4096),
        ("qwen3-8b", 2 * 36 * 4096 + 4096 + 2 * 36 * 128),
        ("qwen3-235b-a22b", 2 * 94 * 4096 + 4096 + 2 * 94 * 128),
        ("qwen2.5-7b", 2 * 28 * 3584 + 3584 + 28 * 128 * (28 + 2 * 4)),
        ("gemma-2-9b", 4 * 42 * 3584 + 3584),
        ("falcon-40b", 4 * 60 * 8192 + 2 * 8192),
        # DeepSeek-V3 also normalizes both latents and adds one bias per expert for load balancing.
        ("deepseek-v3", 2 * 61 * 7168 + 7168 + 61 * (1536 + 512) + 58 * 256),
    ],
)
def test_parameters_are_exact_up_to_norms_and_biases(name, left_out):
    model = catalog.model(name)
    assert model.parameters + left_out == model.published_parameters


@pytest.mark.parametrize(
    ("name", "elements"),
    [
        ("llama-3.1-8b", 65_536),  # 128 KiB in fp16
        ("llama-2-7b", 262_144),  # 512 KiB
        ("llama-2-70b", 163_840),  # 320 KiB, 8 of 64 heads
        ("falcon-7b", 4_096),  # one KV head: 2 x 32 layers x 64
        ("deepseek-v2", 34_560),  # 60 layers x (512 + 64), DeepSeek-V2 (arXiv 2405.04434), table 1
        ("deepseek-v3", 35_136),  # 61 layers x (512 + 64)
        ("gpt-3-175b", 2_359_296),  # 2 x 96 layers x 12288
        ("qwen3-next-80b-a3b", 12_288),  # 12 layers of 48, 2 x 2 heads x 256
        ("qwen3.5-27b", 32_768),  # 16 layers of 64, 2 x 4 x 256
        ("deepseek-v3.2", 42_944),  # 61 layers x (512 + 64, and the indexer's key of 128)
        ("glm-5.2", 47_616),  # 78 x 576, and a key of 128 in 21 layers
        ("kimi-k2", 35_136),  # as DeepSeek-V3
        ("kimi-linear-48b-a3b", 4_032),  # 7 layers of 27 x 576
        ("minimax-m2", 126_976),  # 2 x 62 x 8 x 128
        ("glm-4.5-air", 94_208),  # 2 x 46 x 8 x 128
        ("gemma-4-26b-a4b", 112_640),  # 25 x 2 x 8 x 256, and 5 x 2 x 2 x 512
        ("gemma-4-e2b", 9_216),  # of 15 layers that share none: 12 x 2 x 256, and 3 x 2 x 512
        ("mimo-v2-flash", 111_360),  # 9 layers x 4 and 39 x 8 heads x (192 + 128)
        ("nemotron-h-56b", 20_480),  # 10 layers of 118, 2 x 8 x 128
        ("nemotron-3-nano-30b-a3b", 3_072),  # 6 layers of 52, 2 x 2 x 128
        ("nemotron-super-49b", 100_352),  # 49 layers of 80, 2 x 8 x 128
        ("granite-4.0-h-small", 8_192),  # 4 layers of 40, 2 x 8 x 128
        ("llama-4-scout", 98_304),  # 2 x 48 x 8 x 128
    ],
)
def test_kv_elements_per_token(name, elements):
    assert catalog.model(name).kv_elements_per_token == elements


@pytest.mark.parametrize(
    ("name", "layers", "states", "channels"),
    [  # fp32 states of key size x value size in every head; 3 tokens of the convolution's channels in 16 bit
        ("qwen3-next-80b-a3b", 36, 32 * 128 * 128, (2 * 16 + 32) * 128),
        ("qwen3.5-397b-a17b", 45, 64 * 128 * 128, (2 * 16 + 64) * 128),
        ("kimi-linear-48b-a3b", 20, 32 * 128 * 128, 3 * 32 * 128),
        ("nemotron-h-56b", 54, 256 * 64 * 256, 256 * 64 + 2 * 8 * 256),
        ("nemotron-3-super-120b-a12b", 40, 128 * 64 * 128, 128 * 64 + 2 * 8 * 128),
        ("granite-4.0-h-tiny", 36, 48 * 64 * 128, 48 * 64 + 2 * 128),
    ],
)
def test_state_bytes_of_a_sequence(name, layers, states, channels):
    assert catalog.model(name).state_bytes_per_sequence == layers * (4 * states + 2 * 3 * channels)


def test_kv_cache_bytes_per_token_in_fp16():
    assert 2 * catalog.model("llama-3.1-8b").kv_elements_per_token == 128 * KIB
    assert 2 * catalog.model("llama-2-7b").kv_elements_per_token == 512 * KIB
    # Kwon et al. 2023, PagedAttention (arXiv 2309.06180), section 3: 2 x 5120 x 40 layers x 2 bytes, 800 KB a token.
    assert 2 * catalog.model("opt-13b").kv_elements_per_token == 800 * KIB


@pytest.mark.parametrize(
    ("name", "billions", "rel"),
    [
        ("deepseek-v3", 37, 0.02),  # printed without decimals; the input embedding (0.9) is counted here
        ("deepseek-v2", 21, 0.025),  # arXiv 2405.04434, abstract, same rounding
        ("mixtral-8x7b", 13, 0.01),  # arXiv 2401.04088: "13B active"
        ("mixtral-8x22b", 39, 0.01),  # model card: 39B active
        ("qwen3-235b-a22b", 22, 0.015),
        ("qwen3-30b-a3b", 3.3, 0.02),  # model card: 3.3B activated
        ("qwen3-coder-480b-a35b", 35, 0.015),  # model card, and so below
        ("qwen1.5-moe-a2.7b", 2.7, 0.01),
        ("qwen2-57b-a14b", 14, 0.02),
        ("kimi-k2", 32.6, 0.01),  # arXiv 2507.20534, table 2
        ("llama-4-scout", 17, 0.015),
        ("llama-4-maverick", 17, 0.015),
        ("gemma-4-26b-a4b", 3.8, 0.01),
        ("nemotron-3-nano-30b-a3b", 3.6, 0.01),
        ("dots.llm1", 14, 0.01),
        ("hunyuan-a13b", 13, 0.02),
        ("phi-3.5-moe", 6.6, 0.01),
        ("olmoe-1b-7b", 1.3, 0.015),
        ("dbrx", 36, 0.015),
    ],
)
def test_active_parameters_of_experts_models(name, billions, rel):
    assert catalog.model(name).active_parameters == pytest.approx(billions * 1e9, rel=rel)


@pytest.mark.parametrize(("name", "active"), [("gpt-oss-20b", 3.61), ("gpt-oss-120b", 5.13)])
def test_active_parameters_of_gpt_oss(name, active):
    # The model card (arXiv 2508.10925, table 1) counts the unembedding, not the embedding; biases are 0.3 %.
    model = catalog.model(name)
    counted = model.active_parameters - model.vocab_size * model.hidden_size
    assert counted == pytest.approx(active * 1e9, rel=0.005)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("opt-13b", {"hidden_size": 5120, "learned_positions": 2050, "gated": False}),
        ("llama-33b", {"hidden_size": 6656, "intermediate_size": 17920, "n_layers": 60, "n_heads": 52}),
        ("llama-13b", {"hidden_size": 5120, "intermediate_size": 13824, "n_layers": 40, "n_heads": 40}),
        ("mistral-nemo-12b", {"hidden_size": 5120, "n_heads": 32, "head_dim": 128}),
        ("falcon-7b", {"n_heads": 71, "n_kv_heads": 1, "head_dim": 64}),
        ("gpt2-xl", {"n_heads": 25, "learned_positions": 1024, "tied_embeddings": True}),
        ("llama-3.2-1b", {"head_dim": 64, "tied_embeddings": True}),
    ],
)
def test_sizes_as_published(name, sizes):
    assert {field: getattr(catalog.model(name), field) for field in sizes} == sizes


@pytest.mark.parametrize(
    ("name", "size", "layers"),
    [
        ("mistral-7b", 4096, 32),
        ("gemma-2-9b", 4096, 21),  # every other layer of 42
        ("gemma-3-1b", 512, 22),  # 26 layers: 5 local, then 1 global, so layers 6, 12, 18 and 24 are global
        ("gemma-3-27b", 1024, 52),  # 62 layers, 10 global
        ("gpt-oss-120b", 128, 18),  # every other layer of 36
        ("gemma-4-31b", 1024, 50),  # five in six of 60
        ("olmo-3-7b", 4096, 24),  # three in four of 32
        ("exaone-4-32b", 4096, 48),  # three in four of 64
        ("command-a", 4096, 48),
        ("llama-4-maverick", 8192, 36),  # chunks, three in four of 48
    ],
)
def test_sliding_windows(name, size, layers):
    window = catalog.model(name).sliding_window
    assert window is not None
    assert (window.size, window.layers) == (size, layers)


@pytest.mark.parametrize("name", ["mistral-7b-v0.3", "mixtral-8x7b", "qwen2.5-7b", "qwen3-8b", "llama-3.1-8b"])
def test_models_without_a_sliding_window(name):
    assert catalog.model(name).sliding_window is None


def test_quantized_checkpoints():
    formats = {name: catalog.model(name).quantization for name in MODELS}
    stored = {name: (entry.format, entry.scope, entry.activation) for name, entry in formats.items() if entry}
    blocks = ("deepseek-r1", "deepseek-v3", "deepseek-v3.2", "kimi-k2", "mimo-v2-flash", "minimax-m2")
    assert stored == {
        "llama-2-7b-awq": ("awq", "linear", None),
        "gpt-oss-20b": ("mxfp4", "experts", None),
        "gpt-oss-120b": ("mxfp4", "experts", None),
        **dict.fromkeys(blocks, ("fp8_block", "linear", "fp8")),
        "devstral-2-123b": ("fp8", "linear", "fp8"),
        "devstral-small-2-24b": ("fp8", "linear", "fp8"),
        "kimi-k2.5": ("w4a16", "experts", None),
    }
