"""Names as people write them: those of drivers and hubs, files of one's own, and what a message says of the others."""

import json
import os

import pytest
import yaml
from typer.testing import CliRunner

import workbench as wb
from workbench import catalog, cli, explorer
from workbench.catalog.loading import DATA, known_names
from workbench.common.names import meant, words, written_names
from workbench.measure.models import find_model

#: A config.json of Llama 3.2 1B's sizes.
CONFIG = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 2048, "intermediate_size": 8192,
    "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 128256,
    "max_position_embeddings": 131072, "tie_word_embeddings": True,
}  # fmt: skip
T4 = (DATA / "gpus" / "t4.yaml").read_text()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of entries of one's own: a card, a model as config.json, one as YAML, fits of the catalog's L4."""
    for kind in ("gpus", "models/mine", "fits"):
        (tmp_path / "own" / kind).mkdir(parents=True)
    (tmp_path / "own/gpus/t4-fast.yaml").write_text(T4.replace("bandwidth_gbs: 320", "bandwidth_gbs: 640"))
    (tmp_path / "own/models/mine/config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "own/models/short.yaml").write_text((DATA / "models/gpt2.yaml").read_text())
    (tmp_path / "own/fits/l4.yaml").write_text((DATA / "fits/l40s.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    return tmp_path / "own"


def invoke(*arguments):
    return CliRunner().invoke(cli.app, [str(a) for a in arguments])


# Names that are clear ----------------------------------------------------------------------------------------------

GPUS = {
    "h100": "h100-sxm", "H100-SXM": "h100-sxm", " H100 ": "h100-sxm", "H100 SXM5": "h100-sxm", "h100-sxm5": "h100-sxm",
    "4090": "rtx-4090", "RTX4090": "rtx-4090", "L40S": "l40s", "b200": "b200-sxm", "h200": "h200-sxm",
    "A100-SXM4-80GB": "a100-80gb-sxm", "6000 Ada": "rtx-6000-ada", "T4 16GB": "t4", "MI300X": "mi300x",
    # what drivers say: github.com/NVIDIA/open-gpu-kernel-modules, README.md; vLLM's device names have underscores
    "NVIDIA H100 80GB HBM3": "h100-sxm", "NVIDIA_H100_80GB_HBM3": "h100-sxm", "NVIDIA H100 PCIe": "h100-pcie",
    "NVIDIA H100 NVL": "h100-nvl", "NVIDIA H200": "h200-sxm", "NVIDIA H200 NVL": "h200-nvl", "NVIDIA H20": "h20-96gb",
    "NVIDIA H20-3e": "h20-141gb", "NVIDIA H800": "h800-sxm", "NVIDIA H800 PCIe": "h800-pcie",
    "NVIDIA GH200 480GB": "gh200-96gb", "NVIDIA GH200 144G HBM3e": "gh200-144gb", "NVIDIA B200": "b200-sxm",
    "NVIDIA GB200": "gb200", "NVIDIA B300 SXM6 AC": "b300-sxm", "NVIDIA A100-SXM4-80GB": "a100-80gb-sxm",
    "NVIDIA A100-SXM4-40GB": "a100-40gb-sxm", "NVIDIA A100-PCIE-40GB": "a100-40gb-pcie",
    "NVIDIA A100 80GB PCIe": "a100-80gb-pcie", "NVIDIA A10G": "a10g", "NVIDIA L4": "l4", "Tesla T4": "t4",
    "Tesla V100-SXM2-32GB": "v100-sxm2-32gb", "Tesla V100-PCIE-16GB": "v100-pcie-16gb",
    "NVIDIA GeForce RTX 4090": "rtx-4090", "NVIDIA GeForce RTX 5090": "rtx-5090", "NVIDIA RTX A6000": "rtx-a6000",
    "NVIDIA RTX 6000 Ada Generation": "rtx-6000-ada", "AMD Instinct MI300X": "mi300x",
    "NVIDIA RTX PRO 6000 Blackwell Workstation Edition": "rtx-pro-6000-ws",
    "NVIDIA RTX PRO 6000 Blackwell Server Edition": "rtx-pro-6000-server",
}  # fmt: skip
MODELS = {
    "Llama-3.1-70B": "llama-3.1-70b", "meta-llama/Llama-3.1-8B-Instruct": "llama-3.1-8b", "llama3-8b": "llama-3-8b",
    "meta-llama/Meta-Llama-3-8B-Instruct": "llama-3-8b", "Llama-2-7b-chat-hf": "llama-2-7b", "gpt-2": "gpt2",
    "mistralai/Mistral-7B-v0.1": "mistral-7b", "Mistral-7B-Instruct-v0.3": "mistral-7b-v0.3",
    "Qwen/Qwen2.5-7B-Instruct": "qwen2.5-7b", "google/gemma-3-27b-it": "gemma-3-27b", "DeepSeek R1": "deepseek-r1",
    "TheBloke/Llama-2-7B-Chat-AWQ": "llama-2-7b-awq", "Qwen3-30B-A3B": "qwen3-30b-a3b",
    "Command R+": "command-r-plus",
}  # fmt: skip


@pytest.mark.parametrize(("find", "names"), [(wb.gpu, GPUS), (wb.model, MODELS)])
def test_a_clear_name_finds_its_entry(find, names):
    assert {name: find(name).id for name in names} == names


def test_measure_knows_models_by_the_same_names():
    assert {name: find_model(name).id for name in MODELS} == MODELS


@pytest.mark.parametrize("kind", ["gpus", "models"])
def test_every_entry_is_found_by_each_of_its_own_names(kind):
    """But for its memory, which several have; read from the text as YAML reads it."""
    for name, others in known_names(kind).items():
        entry = yaml.safe_load((DATA / kind / f"{name}.yaml").read_text())
        named = [*entry.get("aliases", ()), entry["name"]]
        assert others[: len(named)] == named
        for each in (name, *named):
            assert meant(each, known_names(kind)) == [name], each


def test_outputs_have_the_ids():
    ds = wb.roofline_grid(["Tesla T4", "4090"], "meta-llama/Llama-3.1-8B-Instruct")
    assert ds.gpu.values.tolist() == ["t4", "rtx-4090"]
    assert ds.model.values.tolist() == ["llama-3.1-8b"]
    served = wb.serving.estimate("H100", "Llama-3.1-8B", price={"NVIDIA H100 80GB HBM3": 2.5})
    assert served.gpu.item() == "h100-sxm"
    assert served.cost.item() > 0
    assert wb.explore(gpu="4090", model="Llama-3.1-8B").view.gpu == ["rtx-4090"]


def test_words_of_a_name():
    assert words("nvidia/NVIDIA_GeForce RTX4090 24 GB") == ["4090", "24gb"]
    assert words("meta-llama/Llama-3.1-8B-Instruct") == ["llama", "3.1", "8b"]
    assert words("A100-SXM4-80GB") == ["a100", "sxm", "80gb"]
    assert words("Tesla") == ["tesla"]
    assert written_names("name: 'A'\naliases: [b c,\n  d]\nconfig: Hugging Face e/f-1.5, config.json\n") == [
        "b c", "d", "A", "e/f-1.5",
    ]  # fmt: skip


# Names that are not ------------------------------------------------------------------------------------------------

UNCLEAR = [
    (wb.gpu, "a100", "GPU 'a100' can be 'a100-40gb-sxm', 'a100-80gb-sxm', 'a100-40gb-pcie' or 'a100-80gb-pcie': say w"),
    (wb.gpu, "A100 80GB", "GPU 'A100 80GB' can be 'a100-80gb-sxm' or 'a100-80gb-pcie': say which"),
    (wb.gpu, "gh200", "GPU 'gh200' can be 'gh200-96gb' or 'gh200-144gb': say which"),
    (wb.gpu, "v100", "GPU 'v100' can be 'v100-pcie-16gb', "),
    (wb.gpu, "t5", "unknown GPU 't5'. Did you mean 't4'"),
    (wb.gpu, "h200-smx", "unknown GPU 'h200-smx'. Did you mean 'h200-sxm'"),
    (wb.gpu, "H100™", "unknown GPU 'H100™'. Did you mean 'h100-sxm'"),
    (wb.gpu, "NVIDIA GeForce RTX 4090 Laptop GPU", "unknown GPU .* The nearest is 'rtx-4090', without 'laptop'. `work"),
    (wb.model, "llama3", "model 'llama3' can be 'llama-3-8b', .* more: say which"),
    (wb.model, "olmo3", "model 'olmo3' can be 'olmo-3-7b' or 'olmo-3-32b': say which"),
    (wb.model, "Qwen3-30B", "model 'Qwen3-30B' can be 'qwen3-30b-a3b' or 'qwen3-coder-30b-a3b': say which"),
    (wb.model, "1", "unknown model '1'"),
    (wb.model, "llama", "model 'llama' can be 'llama-7b', .* more: say which"),
    (wb.model, "Qwen/Qwen3-30B-A3B-FP8", "unknown model .* The nearest is 'qwen3-30b-a3b', without 'fp8'."),
    (wb.model, "DeepSeek-V3-0325", "unknown model .* The nearest is 'deepseek-v3', without '0325'."),
    (wb.model, "hugging-quants/Meta-Llama-3.1-8B-Instruct-AWQ-INT4", "nearest is 'llama-3.1-8b', without 'awq int4'."),
    (find_model, "Qwen3-8B-AWQ", "unknown model 'Qwen3-8B-AWQ'. The nearest is 'qwen3-8b', without 'awq'."),
]  # fmt: skip


@pytest.mark.parametrize(("find", "name", "message"), UNCLEAR)
def test_several_or_none_is_one_line_with_the_nearest(find, name, message):
    with pytest.raises(ValueError, match=message) as error:
        find(name)
    assert len(str(error.value)) < 200
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", [None, "", " ", "\n", 3, 1.5, True, [], ("h100",), {}, b"t4", "a\0b", "*", "x" * 5000])
@pytest.mark.parametrize(("find", "what"), [(wb.gpu, "GPU"), (wb.model, "model")])
def test_what_is_no_name_is_one_line(find, what, name):
    with pytest.raises(ValueError, match=f"^unknown {what} .*`workbench {what.lower()}s` lists all \\d+$") as error:
        find(name)
    assert len(str(error.value)) < 200


def test_no_message_lists_a_catalog():
    for find in (wb.gpu, wb.model):
        with pytest.raises(ValueError, match="unknown") as error:
            find("zzz")
        assert sum(name in str(error.value) for name in (*wb.gpus(), *wb.models())) <= 3


# Files -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["own/models/mine", "own/models/mine/config.json", "./own/models/mine/", "mine"])
def test_a_config_json_goes_where_a_name_goes(folder, monkeypatch, place):
    if place == "mine":
        monkeypatch.chdir(folder / "models")
    assert wb.model(place) == wb.from_hf_config(place)
    assert wb.model(place).parameters == wb.model("llama-3.2-1b").parameters
    assert find_model(place).hidden_size == 2048
    assert wb.roofline_grid("t4", place).model.values.tolist() == ["mine"]
    assert wb.serving.estimate("l4", place).model.item() == "mine"
    assert (wb.serving.plan(place, prompt=10, output=5, gpu="l4", tp=1, batch_size=1).verdict == "best").all()
    load = wb.simulation.poisson(5, requests=3, prompt=10, output=2)
    assert len(wb.simulation.simulate(wb.simulation.Server("l4", place), load)) == 3
    wb.serving.draft_model(place, depth=1, alpha=0.5).check(wb.model("llama-3.1-8b"), 100)


def test_a_path_object_is_a_path(folder):
    assert wb.model(folder / "models" / "mine").id == "mine"
    assert wb.model(folder / "models" / "short.yaml").parameters == wb.model("gpt2").parameters
    assert wb.gpu(folder / "gpus" / "t4-fast.yaml").bandwidth == 640e9


def test_an_id_is_the_catalogs_whatever_lies_beside(folder, monkeypatch):
    (folder / "models" / "mine").rename(folder / "models" / "llama-3-8b")
    monkeypatch.chdir(folder / "models")
    assert wb.model("llama-3-8b").hidden_size == find_model("llama-3-8b").hidden_size == 4096
    assert wb.model("./llama-3-8b").hidden_size == find_model("./llama-3-8b").hidden_size == 2048


def test_a_hub_name_is_a_folder_where_there_is_one(folder):
    (folder / "models" / "mine").rename(folder / "models" / "meta-llama")
    assert wb.model("meta-llama/Llama-3.1-8B").hidden_size == 4096
    (folder.parent / "meta-llama").mkdir()
    (folder / "models" / "meta-llama").rename(folder.parent / "meta-llama" / "Llama-3.1-8B")
    assert wb.model("meta-llama/Llama-3.1-8B").hidden_size == 2048


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_a_pipe_is_read_once(folder):
    os.mkfifo(folder / "pipe")
    reader = os.open(folder / "pipe", os.O_RDONLY | os.O_NONBLOCK)  # so that a writer may open it
    writer = os.open(folder / "pipe", os.O_WRONLY)
    os.write(writer, json.dumps(CONFIG).encode())
    os.close(writer)
    try:
        assert wb.roofline_grid("t4", str(folder / "pipe"), "o_proj").sizes["model"] == 1
    finally:
        os.close(reader)


BROKEN = [
    (wb.model, "gone/config.json", None, "^gone/config.json: no such file"),
    (wb.model, "./gone", None, "^gone: no such file"),
    (wb.model, "own", None, "^unknown model 'own'. .*; the folder of that name has no config.json$"),
    (wb.model, "own/models", None, "^own/models/config.json: no such file"),
    (wb.model, "x.json", "{", "^x.json, line 1: not valid JSON"),
    (wb.model, "x.json", "[]", "^x.json: expected a JSON object, found list$"),
    (wb.model, "x.json", '{"model_type": "lama"}', "^x.json: unknown model_type 'lama'. Did you mean 'llama'"),
    (wb.model, "x.json", json.dumps(CONFIG | {"hidden_size": "x"}), "^x.json: hidden_size = 'x': expected a whole"),
    (wb.model, "x.yaml", "", "^x.yaml: expected a mapping of fields, found NoneType$"),
    (wb.model, "gpt2.yaml", "name: GPT", "^gpt2.yaml: family: Field required"),
    (wb.gpu, "gone.yaml", None, "^gone.yaml: No such file or directory$"),
    (wb.gpu, "/" + 5000 * "x", None, "^/x{99}: File name too long$"),
    (wb.gpu, "./own", None, "^own: a folder: expected a file$"),
    (wb.gpu, "/dev/null", None, "^/dev/null: a device: expected a file$"),
    (wb.gpu, "x.yaml", "a: [", "^x.yaml, line 2: not valid YAML"),
    (wb.gpu, "x.yaml", "- 1", "^x.yaml: expected a mapping of fields, found list$"),
    (wb.gpu, "x.yaml", T4.replace("tdp_w", "tdp"), "^x.yaml: unknown field 'tdp'. Did you mean 'tdp_w'"),
    (wb.gpu, "x.yaml", T4.replace("bandwidth_gbs", "bandwith"), "^x.yaml: unknown field 'memory.bandwith'"),
    (wb.gpu, "x.yaml", T4.replace("type: ", "kind: "), "^x.yaml: unknown field 'memory.kind'. Did you mean"),
    (wb.gpu, "t4.yaml", T4.replace("320", "321"), "^t4.yaml: 't4' is in the catalog: give the file, or its id"),
]  # fmt: skip


@pytest.mark.parametrize(("find", "name", "text", "message"), BROKEN)
def test_a_file_that_is_none_is_one_line(folder, find, name, text, message):
    if text is not None:
        (folder.parent / name).write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        find(name)
    assert len(str(error.value)) < 200
    assert "\n" not in str(error.value)


def test_the_catalogs_own_file_is_its_entry(folder):
    (folder.parent / "t4.yaml").write_text(T4)
    assert wb.gpu("t4.yaml") == wb.gpu("t4")


def test_a_view_names_no_file_but_where_the_reader_calls(folder):
    shown = wb.explore(model=["own/models/mine", "Llama-3.1-8B"], gpu="t4").view
    assert shown.model == ["mine", "llama-3.1-8b"]
    assert shown.configs == {"mine": CONFIG}
    for named in ({"model": ["own/models/mine"]}, {"gpu": ["own/gpus/t4-fast.yaml"]}):  # as a link may
        with pytest.raises(ValueError, match="^unknown (model|GPU) 'own/"):
            explorer.grid(explorer.View(**named))
    shown = wb.explore(
        gpu=["own/gpus/t4-fast.yaml", wb.gpu("t4", bandwidth_gbs=640)], model="own/models/short.yaml"
    ).view
    assert len(shown.cards) == len(shown.configs) + 1 == 2
    bandwidths = explorer.grid(shown).bandwidth.values.tolist()
    assert bandwidths == [wb.gpu("own/gpus/t4-fast.yaml").bandwidth, 640e9]
    assert wb.explore(model=[wb.model("gpt2")]).view.model == ["gpt2"]


# On the command line -----------------------------------------------------------------------------------------------


def test_lists_of_names_are_separated_by_commas(folder):
    several = ("--gpu", "t4,4090", "--model", "llama-7b,own/models/mine", "--operator", "q_proj,o_proj")
    result = invoke("grid", *several, "--phase", "prefill,decode", "--variable", "flops,time", "-o", "g.nc")
    assert result.stdout.startswith("g.nc: 2 gpu, 2 model, 2 operator, 2 phase, 1 batch_size"), result.output
    (folder.parent / "a,b.json").write_text(json.dumps(CONFIG))
    assert invoke("grid", "--gpu", "t4", "--model", "a,b.json", "-o", "h.csv").exit_code == 0


def test_entries_of_a_folder_go_by_name(folder):
    size = ("--entries", folder, "--prompt", "100", "--output-tokens", "10")
    result = invoke("estimate", "mine", "--gpu", "t4-fast,l4,T4", "--price", "t4-fast=1", "--price", "l4=1",
                    "--price", "T4=1", *size, "-o", "e.csv")  # fmt: skip
    assert result.exit_code == 0, result.output
    rows = (folder.parent / "e.csv").read_text().splitlines()[1:]
    assert [row.split(",")[0] for row in rows] == ["t4-fast", "l4 (modified: fits)", "t4"]
    assert "modified" in result.output
    planned = invoke("plan", "mine", "--price", "t4-fast=1", "--tp", "1", "--batch-size", "1", *size)
    assert "t4-fast" in planned.output, planned.output
    load = ("--rate", "5", "--requests", "5", "--draft", "short:1:0.5")
    refused = invoke("simulate", "mine", "--gpu", "t4-fast", *load, *size)
    assert "vocabulary" in refused.stderr  # of the draft, which was found
    simulated = invoke("simulate", "short", "--gpu", "t4-fast", *load[:4], *size)
    assert simulated.exit_code == 0, simulated.output
    assert invoke("grid", "--gpu", "t4-fast", "--model", "short", "--entries", folder, "-o", "g.csv").exit_code == 0
    assert "\nt4-fast" in invoke("gpus", "--entries", folder).output
    assert invoke("models", "mine", "--entries", folder).output.startswith("Model mine: mine (llama)\n")


def test_a_folder_that_holds_no_entries_is_one_line(folder):
    result = invoke("grid", "--gpu", "t4", "--model", "gpt2", "--entries", "own/gpus", "-o", "g.csv")
    assert (result.exit_code, result.stderr) == (
        1, "workbench: --entries own/gpus: expected a folder with gpus, models or fits in it\n",
    )  # fmt: skip


def test_own_fits_go_first_on_ones_own_card(folder):
    (folder / "fits" / "l4.yaml").rename(folder / "fits" / "t4-fast.yaml")
    card = cli.options.own_gpu("t4-fast", folder)
    assert catalog.kernel_fit(card, "gemm").gpu == card.id == "t4-fast"
