"""Mutants: small mistakes, made on purpose, one at a time, in a copy of the package. Where one lives a test is missing.

By hand: `python tests/mutants.py [WORD...]`, of those mutants alone whose file or note has one of the words. The exit
status is the number of those that live.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from hypothesis import Phase, settings

ROOT = Path(__file__).resolve().parents[1]
PROCESSES, LIMIT = 2, 300  # s for the tests of one mutant
#: A failing example is enough: the smallest one, or more of them, take minutes.
settings.register_profile(
    "unshrunk", derandomize=True, deadline=None, report_multiple_bugs=False, phases=[Phase.explicit, Phase.generate]
)


class Mutant(NamedTuple):
    """A mistake: in a file of the package, the place of a text that stands there once, and what is put there."""

    file: str
    old: str
    new: str
    note: str


#: What to run for a mutant of each file, the tests that are nearest to it first.
TESTS = {
    "audit/claims.py": ["audit_lines"],
    "audit/medusa.py": ["audit_medusa"],
    "audit/text.py": ["audit_lines"],
    "audit/values.py": ["audit_tolerances"],
    "audit/verdicts.py": ["audit_tolerances", "audit_lines"],
    "servers/steps.py": ["steps", "choosing", "engines", "serving", "simulation"],
    "servers/replica.py": ["engines", "steps", "serving"],
    "simulation/engine.py": ["engines", "simulation"],
    "simulation/client.py": ["engines", "client"],
    "simulation/cache.py": ["prefix_cache", "policies", "hybrid_models"],
    "simulation/policies.py": ["policies"],
    "catalog/choosing.py": ["choosing"],
    "catalog/links.py": ["parallel"],
    "calibration/operators.py": ["whole_catalog"],
    "calibration/whole_catalog.py": ["whole_catalog"],
    "serving/estimation.py": ["serving", "assumed", "units"],
    "serving/latency.py": ["serving", "units"],
    "serving/batch.py": ["serving"],
    "servers/memory.py": ["memory", "no_silent_default", "serving", "units", "hybrid_models"],
    "serving/room.py": ["serving", "no_silent_default"],
    "servers/drafts.py": ["assumed", "serving", "speculation"],
    "serving/capacity.py": ["plan", "plans_hold"],
    "serving/fleet.py": ["plan", "plans_hold"],
    "serving/verdicts.py": ["plan", "plans_hold"],
    "serving/confirmation.py": ["plans_hold"],
    "serving/pareto.py": ["plan", "search"],
    "kernels/roofline.py": ["roofline", "steps"],
    "kernels/gemm_times.py": ["gemm_times"],
    "kernels/gemm.py": ["gemm_law", "kernels", "no_silent_default", "units"],
    "kernels/attention.py": ["kernels", "attention_laws", "no_silent_default", "units"],
    "kernels/attention_times.py": ["kernels", "attention_laws", "units"],
    "kernels/mla.py": ["attention_laws"],
    "kernels/linear_attention.py": ["attention_laws"],
    "kernels/elementwise.py": ["kernels", "units"],
    "kernels/moe.py": ["moe_law", "units"],
    "operators/routing.py": ["moe_law"],
    "kernels/times.py": ["kernels", "steps", "units"],
    "kernels/collectives.py": ["parallel", "assumed", "no_silent_default", "units"],
    "kernels/unknowns.py": ["no_silent_default"],
    "operators/cost.py": ["no_silent_default", "operators", "hybrid_models"],
    "operators/attention.py": ["hybrid_models", "attention_laws"],
    "operators/projections.py": ["hybrid_models"],
    "operators/states.py": ["hybrid_models"],
    "operators/parallel.py": ["hybrid_models", "parallel"],
    "operators/elementwise.py": ["hybrid_models"],
    "common/matrices.py": ["hybrid_models", "catalog_models"],
    "common/layers.py": ["hybrid_models"],
    "catalog/gpu_entries.py": ["no_silent_default", "catalog_gpus"],
    "catalog/scaling.py": ["scaling"],
    "kernels/formats.py": ["memory", "operators", "quantization", "steps"],
    "common/arguments.py": ["assumed", "public_arguments"],
    "hugging_face/keys.py": ["assumed", "hf"],
    "hugging_face/reading.py": ["hf", "model_types"],
    "hugging_face/hybrids.py": ["model_types"],
    "hugging_face/states.py": ["model_types"],
    "explorer/bounds.py": ["explorer"],
    "explorer/page_server.py": ["explorer_server"],
    "explorer/chart_looks.py": ["charts_as_printed"],
    "tables/looks.py": ["charts_as_printed"],
    "files/folders.py": ["files"],
    "files/formulas.py": ["files"],
    "files/json_streams.py": ["reading"],
    "files/reading.py": ["reading"],
    "timings/parquet.py": ["reading"],
    "figures/outputs.py": ["reading"],
    "figures/params.py": ["notebooks"],
    "figures/index.py": ["index"],
    "audit/reading.py": ["index"],
    "tables/notebook.py": ["notebooks"],
    "files/writing.py": ["files"],
    "store.py": ["files", "store"],
    "ending.py": ["cli", "kills"],
    "cluster.py": ["cluster"],
    "measure/results.py": ["measure"],
    "measure/command.py": ["measure"],
    "studies/t4_static.py": ["t4_report"],
    "studies/t4_load_test.py": ["t4_report"],
    "studies/t4_findings.py": ["t4_report"],
    "audit/t4.py": ["t4_report"],
}
#: By file: a text, what is put in its place, and what is wrong with that.
MUTANTS: dict[str, list[tuple[str, str, str]]] = {
    "studies/t4_static.py": [
        ("times.where(grid.bound == COMPUTE, 0.0)", "times.where(grid.bound != COMPUTE, 0.0)", "limits the wrong way"),
    ],
    "studies/t4_load_test.py": [
        ("given = T4_CALIBRATED | {", "given = {", "a prompt alone without the server's own kernel"),
        ("1 - ds.ttft / ds.end_to_end_latency", "ds.ttft / ds.end_to_end_latency", "the share of prefill"),
    ],
    "studies/t4_findings.py": [
        ("range(1, MOST_RUNNING + 1)", "(1, 2, 4, 8, 16, 32, 64, 128, 256)", "batches of powers of two only"),
        ('min(int(T4_LOAD_TESTS[run]["max_num_seqs"]), T4_RUNNING)', 'int(T4_LOAD_TESTS[run]["max_num_seqs"])',
         "more than were running"),
    ],
    "audit/t4.py": [
        ("[T4_CONTEXT] if seq_len is None", "[76] if seq_len is None", "another context for the same run"),
        ('== (limit == "memory")', '!= (limit == "memory")', "the report's bound the wrong way"),
        ("= (1, T4_CONTEXT)", "= (2, T4_CONTEXT)", "two sequences for one"),
        ("watts[1] / watts[0]", "watts[0] / watts[1]", "watts upside down"),
    ],
    "audit/claims.py": [
        ('("is in none of its sentences", lines - said)', '("is in none of its sentences", set())', "lines unjudged"),
        ("own - named - set(self.elsewhere)", "own - own", "claims of no line"),
        ('"does not reproduce" if self.transcription else "wrong as transcribed"', '"not recomputed"',
         "one class for both"),
    ],
    "audit/medusa.py": [
        ("(values >= low) & (values <= high)", "(values >= low) | (values <= high)", "every setting counts as inside"),
        ("float(first.max() / second.max())", "float(first.min() / second.min())", "the lowest for the highest"),
        ("values / values.shift({along: 1})", "values / values.shift({along: -1})", "growth upside down"),
        ("range_of(performance / intensity)", "range_of(performance)", "a slope without its run"),
        ('"elements": ds.bytes / 2', '"elements": ds.bytes', "bytes counted as elements"),
        ("np.median(", "np.max(", "the fastest for the median"),
    ],
    "audit/text.py": [
        (" and len(own) == len(source.claims)", "", "sentences of a document beside the claims of one figure"),
        ("computable.count(False)", "computable.count(True)", "what can be computed counted as what cannot"),
        ("if listed else pd.NA, len(own)", ", len(own)", "sentences of a source without lines"),
    ],
    "audit/values.py": [
        ("(min(relative_distance(low, least), 0.0),", "(relative_distance(low, least),", "an end inside counts as off"),
    ],
    "audit/verdicts.py": [
        ("np.ndim(value) < np.ndim(claim.published)", "False", "a value inside a range fails"),
        ('"wrong as transcribed" if transcription else "does not reproduce"', '"does not reproduce"',
         "a transcriber's misreading laid at the paper's door"),
        ("claim.basis not in claims.STRICT and flips", "flips", "rounding taken for a judgement"),
        ("(1 / MOVE, 1.0, MOVE)", "(1.0, MOVE)", "a verdict that a finer tolerance would change"),
    ],
    "servers/steps.py": [
        ("share[p] * used.error_percent", "used.error_percent", "errors without their shares"),
        ("np.greater_equal(weight, KNOWN_SHARE)", "np.greater(weight, 0)", "an error of the least part for all of it"),
        ("limit == MEMORY", "limit == COMPUTE", "time that compute limits counted as memory's"),
        ("bound(cost.flops / cost.bytes,", "bound(cost.bytes / cost.flops,", "intensity upside down"),
        ("Work((0.0, 0.0, seconds)", "Work((seconds, 0.0, 0.0)", "a collective waits for memory"),
        ("_widening_time(replica, name, piece, peak) + replica.launch_latency",
         "_widening_time(replica, name, piece, peak)", "kernels that widen are launched for nothing"),
        ("a.flops + b.flops", "a.flops", "attention of the first piece alone"),
        ("a.bytes + b.bytes", "np.maximum(a.bytes, b.bytes)", "traffic of the larger piece alone"),
        ("flops / peak)\n        works", "flops * peak)\n        works", "computing time upside down"),
        ("np.maximum(host, calibration.launching - kernels)", "host + calibration.launching", "no launch is hidden"),
        ("np.ceil(piece.sequences / replica.dp_ranks)", "np.floor(piece.sequences / replica.dp_ranks)",
         "a sequence of none of the GPUs"),
        ("(whole if operator.routed else together,)", "(together,)", "experts see their own GPU's tokens"),
        ("np.ceil(rows / part - 1e-9)", "np.floor(rows / part + 1e-9)", "the last rows widen nothing"),
        ("/ calibration.gemm_efficiency", "* calibration.gemm_efficiency", "efficiency upside down"),
        ("rows >= calibration.dequantize_rows", "rows > calibration.dequantize_rows", "off by one row"),
        ("(run(rows, widths)[1] + written)", "(run(rows, widths)[1])", "widened weights are not written"),
        ("element_bytes(formats.stored(operator)) < WIDTH", "element_bytes(formats.stored(operator)) > WIDTH",
         "kernels that narrow instead"),
        ("piece.sequences * piece.logits, 0)", "piece.sequences, 0)", "one row of logits for all candidates"),
        ("Step(sequences, new_tokens, cached + new_tokens, cached)", "Step(sequences, new_tokens, new_tokens, cached)",
         "a chunk that does not see the cache"),
        ("calls=cost.calls)", "calls=1)", "one layer's time"),
        ("replace(replica, tp=1, pp=1, ep=1, dp=1, redundant_experts=0, expert_skew=0.0)", "replica",
         "MFU counts what is copied"),
        ("calibration.sequence_overhead * sequences", "calibration.sequence_overhead", "one sequence's overhead"),
    ],
    "servers/replica.py": [
        ("return self.tp * self.dp_ranks * self.pp", "return self.tp * self.dp_ranks", "GPUs of one stage"),
        ("return self.tp * self.dp_ranks // self.ep", "return self.tp // self.ep", "experts shared within a group"),
        ("self.gpus > (most", "self.gpus < (most", "a network for a machine, none between them"),
        ("self.pp > self.model.n_layers", "self.pp >= self.model.n_layers", "off by one stage"),
        ('self.timing.time_model == "ideal"', 'self.timing.time_model == "kernel"', "a host on the roof alone"),
        ("if own or self.engine", "if self.engine", "the engine's host in place of the one that is given"),
        ("host.layer_launch * self.model.n_layers", "host.layer_launch", "one layer is launched"),
    ],
    "catalog/links.py": [
        ("generation is None or link_of(each.gpu, own=own) != generation", "False", "a lender of any link"),
        ("0 if each.fit.engine == engine", "2 if each.fit.engine == engine", "any engine but one's own"),
        ("own and not other and reach != its_reach", "False", "a rack by the fit of a board"),
        ("abs(log(one / other))", "0", "any rate"),
        ("inf if one is None", "0.0 if one is None", "a link that is not known as the nearest"),
    ],
    "simulation/engine.py": [
        ("batches), self.times.least)", "batches), 0.0)", "prompts that are launched for nothing"),
        ("longest, drafting = self.times.least, 0.0", "longest, drafting = 0.0, 0.0", "tokens launched for nothing"),
        ("key=lambda rank: len(rank.running) + len(rank.waiting)", "key=id", "all requests to one group"),
    ],
    "simulation/client.py": [
        ("(-server.request_latency * np.log1p", "(-0.0 * np.log1p", "requests that arrive at once"),
        ("+ 0.5) * GOLDEN % 1", "+ 0.5) * GOLDEN % 0.5", "the fast half of them"),
        ("if i in self.at_engine:", "if i in self.open:", "cancelled where it has not come to"),
    ],
    "simulation/cache.py": [
        ("in reversed(request.runs)", "in request.runs", "the first blocks of a prompt go first"),
        ("min(found.blocks * size, last)", "found.blocks * size", "a prompt of which nothing is computed"),
        ("min(blocks, self.window)", "blocks", "windows that are outgrown"),
        ("(self.state if blocks else 0)", "0", "states for nothing"),
        ("ceil(state_bytes(server)", "int(state_bytes(server)", "parts of units"),
    ],
    "simulation/policies.py": [
        ("self.promised + self._whole(part.request) - shared", "self.promised - shared", "no room for itself"),
        ("max(self._ratio - fallen, LEAST_RATIO)", "self._ratio - fallen", "a ratio without a floor"),
        ("-request.prompt))", "request.prompt))", "the shortest prompt is retracted"),
    ],
    "serving/estimation.py": [
        ("watts[1] * decoding", "watts[0] * decoding", "decoding at prefill's watts"),
        ("watts[0] * times.ttft", "watts[1] * times.ttft", "prefill at decoding's watts"),
        ("(power_floor + (1 - power_floor) * np.maximum(*busy))", "(power_floor + power_floor * np.maximum(*busy))",
         "floor and rest swapped"),
        ("np.maximum(*busy)", "np.minimum(*busy)", "watts by the less used peak"),
        ("replica.gpus * drawn / tokens", "drawn / tokens", "energy of one GPU"),
        ("(batch.output - 1) * times.tpot", "batch.output * times.tpot", "off by one token"),
        ("batch.batch_size / total", "1 / total", "requests of one user"),
        ("[p.bytes / replica.gpu.bandwidth for p in phases]",
         "[p.bytes / replica.gpu.bandwidth / replica.tp for p in phases]", "MBU of all GPUs on one"),
        ("1e6 * replica.gpus * price / 3600", "1e6 * price / 3600", "price of one GPU"),
        ("price / 3600", "price / 60", "hours of a minute"),
        ("100 * phase.other / phase.total", "100 * phase.drafting / phase.total", "share of another"),
        ("POWER_FLOOR = 0.4", "POWER_FLOOR = 0.2", "another floor"),
    ],
    "serving/latency.py": [
        ("np.array([1, 2, 2, 2, 1]) / 8", "np.array([1, 1, 1, 1, 1]) / 5", "a mean that is no trapezoid"),
        ("[*self.seconds.sum(0), self.other]", "[*self.seconds.sum(0)]", "the host limits nothing"),
        ("> 1, steps.total / _tokens_per_step(batch)", "> 1, steps.total", "no draft is accepted"),
        ("new = np.maximum(prompt - batch.cached_prefix, 1)[..., None]", "new = prompt[..., None]",
         "cached tokens computed"),
        ("passes = used * np.where(long, each, ", "passes = used * np.where(long, 1.0, ", "one long prompt for all"),
        ("cached=batch.cached_prefix)", "cached=0)", "users whose cached tokens are computed"),
        ("draft=batch.draft,", "draft=None,", "users of a server without drafts"),
        ("delay = tpot - (total * SAMPLES).sum(-1)", "delay = 0.0", "prompts of others delay no token"),
        ("np.ceil(each * new / batch.max_num_batched_tokens)",
         "np.floor(each * new / batch.max_num_batched_tokens) + 1", "a pass more where they just fit"),
        ("(replica.pp + batches - 1) / replica.pp", "(replica.pp + batches) / replica.pp", "a stage's fill too many"),
        (" / replica.pp, work=passes)", " / replica.pp)", "bubbles count as work"),
        ("- beside * batch.candidates", "- beside", "room without the candidates"),
        ("batch.prompt + batch.output / 2", "batch.prompt + batch.output", "others at their last token"),
        ("prefill_piece(batch.batch_size, batch.prompt - batch.cached_prefix,",
         "prefill_piece(1.0, batch.prompt - batch.cached_prefix,", "a draft of one prompt for all"),
        ("np.maximum(batch.output[..., None] - 2, 0)", "np.maximum(batch.output[..., None] - 1, 0)",
         "a step after the last"),
        ("batch.prompt[..., None] + 1 + np.rint(spans)", "batch.prompt[..., None] + np.rint(spans)",
         "the first token is not in the cache"),
        ("total=phase.total + drafting", "total=phase.total", "guesses for nothing"),
        ("np.minimum(np.ceil(batch_size / replica.dp_ranks), replica.pp)", "replica.pp",
         "more batches than sequences"),
        ("batches * computing / replica.gpus", "batches * computing", "MFU of one GPU for all"),
        ("batches * moved / replica.pp", "batches * moved", "each stage moves all layers"),
        ("if name not in COLLECTIVES", "if name", "the link's bytes are memory's"),
    ],
    "serving/batch.py": [
        ("most > known", "most > 2 * known", "batches without an end"),
    ],
    "servers/memory.py": [
        ("max(embedding, head)", "min(embedding, head)", "the lighter end of a pipeline"),
        ("0.0 if part.tied_embeddings else head", "head if part.tied_embeddings else 0.0", "ties inverted"),
        ("-(-replica.model.n_layers // replica.pp)", "replica.model.n_layers // replica.pp", "the smallest stage"),
        ('OPERATORS[name].operand if name in OPERATORS else "residual"', '"weight"', "a router in the products' width"),
        ("np.ceil(np.asarray(tokens, dtype=float) / block_size)", "(np.asarray(tokens, dtype=float) / block_size)",
         "parts of blocks"),
        ("np.ceil(window.size / block_size)", "np.floor(window.size / block_size)", "a window cut short"),
        ("full, sliding = _cached(replica)", "sliding, full = _cached(replica)", "sliding and full layers swapped"),
        ("np.where(kept > 0, state_bytes(replica), 0.0)", "0.0", "states without memory"),
        ("sequences * replica.model.vocab_size * memory_rule", "replica.model.vocab_size * memory_rule",
         "logits of one sequence"),
        ('logit_copies * WIDTH["fp32"]', 'logit_copies * WIDTH["fp16"]', "logits in 16 bits alone"),
        ("max(_widest(replica.shard))", "sum(_widest(replica.shard))", "attention and MLP alive at once"),
        ("max(tokens * elements", "min(tokens * elements", "the smaller of layers and sampler"),
        ("(kind.n_heads + kind.n_kv_heads) * (kind.qk_dim + kind.v_dim)",
         "(kind.n_heads + 2 * kind.n_kv_heads) * kind.qk_dim", "no room for outputs"),
        ("share * total - taken - stored", "share * total - stored", "CUDA takes nothing"),
        ("share * (total - taken) - stored", "share * (total - stored) - taken", "a share of what weights leave"),
        ("share * (total - taken - stored - alive)", "share * total - taken - stored - alive", "a share of all memory"),
        ("1 - rule.reserve.", "rule.reserve.", "a share of the reserve"),
        ("layer_weights(drafter) if draft.mtp else weights(drafter)", "weights(drafter)",
         "an MTP layer with embeddings of its own"),
    ],
    "serving/room.py": [
        ("batch.cached_prefix // BLOCK_SIZE * BLOCK_SIZE", "batch.cached_prefix", "a block shared in part"),
        ("batch.output + batch.candidates - 1", "batch.output", "candidates without a cache"),
        ("prefix + np.ceil(batch.batch_size", "np.ceil(batch.batch_size", "a prefix stored nowhere"),
        ("max(left - prefix, 0.0)", "max(left, 0.0)", "the largest batch forgets the prefix"),
        ("batch.prompt + batch.output > batch.longest(replica.model)",
         "batch.prompt + batch.output >= batch.longest(replica.model)", "off by one token"),
        ("needed > left]", "needed >= left]", "a batch that just fits"),
        ("BLOCK_SIZE * replica.dp_ranks, ", "BLOCK_SIZE, ", "the cache of one GPU"),
    ],
    "servers/drafts.py": [
        ("if self.mtp and target.mtp_layers is None", "if self.mtp and target.mtp_layers == 0", "layers not there"),
        ("own > other or (what", "(what", "a draft larger than its target"),
        ("tokens > small.max_context", "tokens < small.max_context", "a draft beyond its context"),
        ("below ** (drafted + 1)", "below**drafted", "off by one draft"),
        ("(1 - below), drafted + 1)", "(1 - below), drafted)", "certain drafts, off by one"),
        ("draft.depth * step_time", "(draft.depth + 1) * step_time", "a pass more than drafts"),
        ("for columns in (shard.hidden_size, shard.vocab_size)", "for columns in (shard.vocab_size,)",
         "heads without their layer"),
        ("draft.heads * sum(", "sum(", "one head for all"),
        ("model=passes, pp=1, **whole, **server)", "model=passes, pp=1, tp=1, **whole, **server)", "drafts on one GPU"),
        ("return Draft(depth + 1, expected_tokens(alpha, depth), find_model(model), depth)",
         "return Draft(depth, expected_tokens(alpha, depth), find_model(model), depth)", "no candidate but drafts"),
        ('update={"layers": 1}', 'update={"layers": target.moe.layers}', "an MTP layer with all experts"),
    ],
    "serving/capacity.py": [
        ("(measures <= mine).all(axis=1) & (measures < mine).any(axis=1)", "(measures <= mine).any(axis=1)",
         "better in anything beats"),
        ("measures[:, -1], np.inf).argmin()", "measures[:, -1], -np.inf).argmin()", "beaten by what does not"),
        ('sort_values(kind="stable").index[:1]', 'sort_values(kind="stable").index[-1:]', "the dearest is the best"),
        ("at.memory / 1e9", "at.memory / 2**30", "GiB for GB"),
        ("ties=True", "ties=False", "equals lose"),
        ("tp=able", "tp=able[:1]", "a replica of the fewest GPUs alone"),
    ],
    "serving/fleet.py": [
        ("np.ceil(self.request_rate / each)", "np.floor(self.request_rate / each)", "a replica short"),
        ("table.replicas * table.gpus_each", "table.replicas", "GPUs of one each"),
        ("table.full_cost * full / table.request_rate", "table.full_cost * table.request_rate / full",
         "idle replicas upside down"),
        ("self.utilization * table.requests_per_second", "table.requests_per_second", "loaded to the brim"),
        ("-table.request_rate)", "table.request_rate)", "the lowest rate is the best"),
        ("table.replicas == 0", "table.replicas == 1", "GPUs that are not there"),
    ],
    "serving/verdicts.py": [
        ("time > (limit or inf)", "time >= (limit or inf)", "a level just met is missed"),
        ("1e3 * time", "time", "seconds for milliseconds"),
        ("n == \"memory\" or parts[n] > limit", "n == \"memory\"", "weights that do not fit are memory"),
    ],
    "serving/confirmation.py": [
        ("int(FILLING * len(frame))", "0", "requests of a server that fills are counted"),
        ("turn = slice(None, None, replicas)", "turn = slice(None, None, 1)", "every replica gets all requests"),
        ("trace.sent_s[turn] * own / rate", "trace.sent_s[turn]", "a trace at its own rate"),
        ("rate / replicas, seed=", "rate, seed=", "one replica gets them all"),
        ("(low, middle.replicas, middle) if middle.met", "(low, middle.replicas, middle) if not middle.met",
         "the wrong half of the replicas"),
        ("(middle.rate, high, middle) if middle.met", "(low, high, middle) if middle.met", "a rate that stays"),
        ("outcome.replicas / row.replicas", "row.replicas / row.replicas", "more replicas cost nothing"),
        ("if kind(place) in held:", "if place in held:", "one kind fills the plan"),
        ("np.where(ended, times, np.inf)", "times", "requests that fail keep the limits"),
    ],
    "serving/pareto.py": [
        ("rows[:, 1] < before", "rows[:, 1] <= before", "equals stay"),
        ("(rows[:place][kept[:place]] <= row).all(axis=1)", "(rows[:place][kept[:place]] < row).all(axis=1)",
         "only what is better in all beats"),
    ],
    "kernels/roofline.py": [
        ("return np.greater_equal(intensity, ridge).astype", "return np.less(intensity, ridge).astype",
         "bound inverted"),
        ("return np.greater_equal(intensity, ridge).astype", "return np.greater(intensity, ridge).astype",
         "the ridge itself is memory's"),
        ("np.greater_equal(intensity, ridge, out=out.view(np.bool_))",
         "np.greater(intensity, ridge, out=out.view(np.bool_))", "the ridge itself is memory's, where it is written"),
        ("np.argmax(np.stack", "np.argmin(np.stack", "the shortest limits"),
        ("np.minimum(peak_flop_rate,", "np.maximum(peak_flop_rate,", "the higher ceiling"),
        ("np.maximum(np.divide(flops, peak_flop_rate, out=out),", "np.add(np.divide(flops, peak_flop_rate, out=out),",
         "computing and moving one after the other"),
    ],
    "kernels/times.py": [
        ("np.maximum(reduce(np.minimum, map(seconds, tried)), floor)", "reduce(np.minimum, map(seconds, tried))",
         "faster than the roof"),
        ("seconds = seconds + timing.launch_latency", "seconds = seconds - timing.launch_latency",
         "launches save time"),
    ],
    "kernels/attention_times.py": [
        ("step = Step(batch_size, new_tokens, context, context - new_tokens)\n    return",
         "step = Step(batch_size, new_tokens, context, context)\n    return", "nothing hidden by the mask"),
        ('np.any(given["context"] < given', 'np.any(given["context"] <= given', "whole prompts refused"),
        ('plain_width(kv_dtype, "kv_dtype")\n    call = mla', "plain_width(dtype)\n    call = mla",
         "a latent of 16 bits"),
        ("kernel_format(stored, dtype, cache=True)", '"bf16"', "one format for all"),
    ],
    "kernels/mla.py": [
        ("rate, prompt=expanded, kv_passes=1", "rate, prompt=expanded", "an expanded cache that is written"),
        ("of(latent.expanded, tokens[0]), of(latent.absorbed", "of(latent.absorbed, tokens[0]), of(latent.expanded",
         "kernels of MLA swapped"),
        ("np.maximum(least, ideal_time", "np.minimum(least, ideal_time", "one token more is faster"),
    ],
    "kernels/linear_attention.py": [
        ("state * (1 + cost.m)", "state * 2", "states kept of the last token alone"),
        ("np.ceil(cost.m / CHUNK_TOKENS)", "cost.m / CHUNK_TOKENS", "parts of chunks"),
        ("(fit.passes - 1) * cost.activations", "fit.passes * cost.activations", "a pass more"),
        ("np.maximum(faster, one)", "faster", "more tokens faster than one"),
        ("np.minimum(stepping", "np.maximum(stepping", "the slower kernel"),
    ],
    "kernels/gemm_times.py": [
        ("known.fit.l2_speedup, sets, known", "known.fit.l2_speedup, 1, known", "one set of weights"),
        ("if known else np.nan", "if known else 0.0", "an unknown time is none"),
        ('card.peak_flop_rate(computes)\n    fit', "fit", "a format that the GPU has not"),
    ],
    "kernels/gemm.py": [
        ("np.ceil(m / rows) * np.ceil(n / columns)", "np.ceil(m / columns) * np.ceil(n / rows)", "tiles turned"),
        ("whole(tiles * split / sms) * (k / split", "(tiles * split / sms) * (k / split", "parts of waves"),
        ("sm_count=gpu.sm_count, fill", "sm_count=gpu.sm_count or 132, fill", "another card's SMs"),
        ("(k / split + fill_depth)", "(k / split + fill_depth / split)", "pipelines filled once"),
        ("side / (side + half_tile)", "half_tile / (side + half_tile)", "small tiles reuse more"),
        ("(m <= rows) | (tiles", "(m < rows) | (tiles", "off by one row"),
        ("1 - fit.boost * BOOST_TIME", "1 + fit.boost * BOOST_TIME", "short kernels are slower"),
        ("cost.bytes - cost.activations + l2_misses", "cost.bytes + l2_misses", "activations twice"),
        ("cost.k / (cost.k + fit.loop_depth)", "fit.loop_depth / (cost.k + fit.loop_depth)", "the walk inverted"),
        ("L2_SHARE = 0.5", "L2_SHARE = 1.0", "all of the L2"),
        ("share = 1 - cached * (1 - 1 / l2_speedup)", "share = 1 - cached / l2_speedup", "replays too fast"),
        ("used = copies * (cost.bytes - cost.activations)", "used = cost.bytes - cost.activations", "one set in L2"),
        ("(width * cost.k + WIDE * cost.n)", "width * (cost.k + cost.n)", "results in 8 bits"),
        ("(WIDE + width) * cost.k", "width * cost.k", "quantizing reads nothing"),
        ("np.maximum(step, np.minimum", "np.minimum(step, np.minimum", "no latency"),
        ("np.minimum(step_flops, 2.0 * prod(TILES[-1]) * sm_count)", "step_flops", "latency above the peak"),
        ("if sm_count is not None:\n        step", "if True:\n        step", "the latency of every tile in a row"),
        ("depth + split_flops / step", "depth", "splits for nothing"),
        ("return product + quantize_seconds(fit, gpu, cost)", "return product", "quantization left out"),
        ("FEW_ROWS, VECTOR_TILE = 4, (8, 64)", "FEW_ROWS, VECTOR_TILE = 5, (8, 64)", "off by one vector"),
        ("np.minimum(few, _best(sizes, each))", "_best(sizes, each)", "no vectors"),
        ('vectors=cost.format.endswith("_wo") and not cost.row_tiles', "vectors=not cost.row_tiles", "vectors for all"),
    ],
    "kernels/moe.py": [
        ("whole(tiles / sms) * depth", "(tiles / sms) * depth", "parts of waves of experts' tiles"),
        ("side / (side + half_tile)", "half_tile / (side + half_tile)", "small tiles of experts reuse more"),
        ("cost.k if routed.first else cost.n", "cost.n if routed.first else cost.k", "tokens in the experts' width"),
        ("if fit.every_pair else rows", "if fit.every_pair else 0 * rows", "rows are never moved"),
        ("    if not routed.first:\n        return seconds\n", "", "both halves launched"),
        ("intermediate_size=width / tp", "intermediate_size=width", "experts not shared"),
        ("n_experts / ep, experts_per_token, first", "n_experts, experts_per_token, first", "all experts on each GPU"),
    ],
    "operators/routing.py": [
        ("(1 - 1 / gpus) ** self.experts_per_token", "(1 - 1 / gpus)", "tokens with one expert"),
        ("touched * (0.5 - 0.5 / height)", "touched * 0.0", "no padding"),
        ("np.ceil(rows / touched / height - 1e-9)", "(rows / touched / height)", "parts of tiles of experts"),
        ("return touched + self.experts * larger", "return touched + larger", "one expert is large"),
        ("np.sqrt(1 + np.log2(gpus)) - 1", "0.0", "no GPU is busier"),
        ("np.ceil(left - 1e-6), left)", "left, left)", "parts of rows dealt"),
    ],
    "kernels/attention.py": [
        ("np.minimum(cost.hidden, cost.m)) / 2", "np.minimum(cost.hidden, cost.m))", "a whole tile wasted"),
        ("np.minimum(cost.hidden, cost.m))", "cost.hidden)", "edges of tokens that are not new"),
        ("fit.exponentials / gpu.exponential_rate", "fit.exponentials / gpu.peak_16_bit", "exponentials as FLOPs"),
        ("products / np.where(np.greater_equal(cost.k", "products / np.where(np.less(cost.k", "heads of 64 are large"),
        ("np.ceil(cost.m / tile), gpu)", "(cost.m / tile), gpu)", "parts of tiles"),
        ("np.minimum(np.ceil(tiles), 1.0) if", "np.ceil(tiles) if", "an unknown number of SMs is one"),
        ("(kv_passes - 1) * new", "kv_passes * new", "a pass of the cache more"),
        ("fit.tail * QUERY_TILE * cost.n * gpu.sm_count", "fit.tail * QUERY_TILE * cost.n", "a tail on one SM"),
        ("fit.token_ns * cost.sequences * cost.m", "fit.token_ns * cost.m", "one sequence is written"),
        ("groups * tiles * height * cost.n", "groups * rows * cost.n", "rows not padded"),
        ("cost.batch / shared\n", "cost.batch\n", "KV heads read once a query head"),
        ("np.where(unsplit, 0.0, fit.context", "np.where(~unsplit, 0.0, fit.context", "splits where there are none"),
        ("np.equal(cost.group, 1), fit.single_head", "np.equal(cost.group, 2), fit.single_head", "pairs of heads"),
        ('single == (fit.split == "single")', 'single != (fit.split == "single")', "the wrong heads split"),
        ("np.minimum(tiles * splits, gpu.sm_count)", "tiles * splits", "more blocks than SMs"),
        ("shared > WIDE_HEADS", "shared >= WIDE_HEADS", "high tiles for 32 heads"),
        ("cost.score_flops / 2 - cost.k", "cost.k", "keys joined for values"),
        ("cost.n + cost.hidden if fit.whole", "cost.n if fit.whole", "hidden tokens never count"),
        ("np.minimum(one, decode_seconds", "np.maximum(one, decode_seconds", "the slower kernel"),
        ("np.maximum(faster, alone)", "faster", "chunks faster than their own prompt"),
    ],
    "kernels/elementwise.py": [
        ("ELEMENTWISE_KERNELS = 4", "ELEMENTWISE_KERNELS = 5", "a kernel more"),
    ],
    "kernels/collectives.py": [
        ('PASSES = {"all_reduce": 2,', 'PASSES = {"all_reduce": 1,', "half an all-reduce"),
        ("passes, moved, rate = PASSES[cost.kernel], (count - 1) / count,",
         "passes, moved, rate = PASSES[cost.kernel], 1.0,", "its own share crosses the link"),
        ("CHOICE = 6.0", "CHOICE = -6.0", "the slower kernel"),
        ("own, count <= 2)", "own, count <= 8)", "a host that nobody shares"),
        ("fit.pair_fraction, 0.0) / (ends", "fit.pair_fraction, -9.0) / (ends", "more GPUs are faster"),
        ("np.maximum(times, beyond)", "beyond", "faster beyond its own link than within it"),
        ("np.where(own, *times)", "np.where(own, *times[::-1])", "sends over the other link"),
        ("np.less_equal(gpus, reach", "np.less(gpus, reach", "a bridge joins one"),
        ("link.max_gpus) or MACHINE", "link.max_gpus) or 10**9", "a link without an end"),
        ("* int(lanes[2]) if lanes else np.nan", "* int(lanes[2]) if lanes else 1.0", "a link of unknown lanes"),
        ("np.greater(gpus, most :=", "np.less(gpus, most :=", "machines without an end"),
    ],
    "common/arguments.py": [
        ("isinstance(given, int | float) and not isinstance(given, bool)", "isinstance(given, int | float)",
         "bools as numbers"),
        ("return value.item() if scalar", "return value if scalar", "numpy's small integers overflow"),
        ("if len(listed) > MAX_LABELS:", "if not listed:", "labels without an end"),
        ("islice(values, MAX_LABELS + 1)) if", "islice(values, MAX_LABELS)) if", "a longer iterator cut"),
    ],
    "hugging_face/keys.py": [
        ("if not unset and (", "if unset and (", "keys passed over"),
        ("if not stem or", "if stem and", "any architecture"),
    ],
    "hugging_face/reading.py": [
        ('(original or context if kind == "yarn" else context)', "context", "yarn stretches the stretched"),
        ("if rope is None or family.scaled:", "if rope is None:", "Gemma 3 stretched twice"),
        ('+ family.extra_positions,\n', ",\n", "OPT's first two positions"),
        ("i >= first and i % every == 0", "i % every == 0", "dense layers in front"),
        ("if family.heads and", "if not family.heads and", "draft heads as models"),
        ("(fields.count(\"n_shared_experts\", 0, least=0) or 0) * size", "size", "one shared expert in all"),
    ],
    "hugging_face/hybrids.py": [
        ("layers - layers // interval", "layers // interval", "chunks in the wrong layers"),
        ("2 * width if wide else width", "width", "double-wide MLPs"),
        ("-(-int(2 * ratio * hidden / 3) // 256) * 256", "int(2 * ratio * hidden / 3)", "no multiple of 256"),
        ('sizes["intermediate_size"] // 2', 'sizes["intermediate_size"]', "Qwen's two halves"),
        ('"shared_intermediate_size": width}', '"shared_intermediate_size": None}', "Hunyuan's shared expert"),
    ],
    "hugging_face/states.py": [
        ('"attention_layers": full if full < layers else None', '"attention_layers": None', "softmax in all layers"),
        ('"intermediate_size": sizes["intermediate_size"] if moe else shared', '"intermediate_size": shared',
         "Granite's experts as wide as what they share"),
    ],
    "kernels/unknowns.py": [
        ("if gpu.sm_count is None and", "if gpu.sm_count == 0 and", "nothing said of SMs"),
        ('for each in run:\n        kind, _, form = each.partition(" ")\n        used',
         'for each in KINDS:\n        kind, _, form = each.partition(" ")\n        used', "fits that are not used"),
        ('[f"in {record.format}"]', "[]", "another format's fit, unsaid"),
        ("formats.kernel_format(name) if kind in FORMATTED", "formats.kernel_format(name) if True",
         "a format of kinds that have none"),
    ],
    "operators/cost.py": [
        ("float(size)", "size", "integers that overflow"),
        ('size.astype("float64")', "1.0 * size", "sizes of half precision"),
        ("(context - 1) % chunk + 1", "context % chunk", "a full chunk is empty"),
        ("- _in_chunks(step.context - new, window)", "", "cached tokens ask again"),
        ("np.minimum(context, window * new)", "np.minimum(context, window)", "all queries choose the same tokens"),
        ("context - (first - first % window)", "np.minimum(context, window)", "one chunk is read"),
    ],
    "operators/attention.py": [
        ("np.logical_and(cheaper, step.context <= indexer.top_k)", "np.logical_or(cheaper, False)",
         "chosen tokens expanded"),
        ("np.where(sparse, many, few)", "few", "sparse attention by the kernel of whole prompts"),
        ("2 * SCORE * count", "SCORE * count", "scores that are never read"),
        ("calls=index.layers or model.attending", "calls=model.attending", "every layer chooses"),
    ],
    "operators/projections.py": [
        ("part.n * part.layers for part in parts) / first.layers", "part.n for part in parts)", "keys of every layer"),
        ("batch=first.copies", "batch=1", "one gate of two"),
    ],
    "operators/states.py": [
        ("2.0 * sequences * state", "1.0 * sequences * state", "states that are never written"),
    ],
    "operators/parallel.py": [
        ("calls=model.mixing + model.feeding", "calls=2 * model.n_layers", "two sums in every layer"),
        ("moe.latent_size or model.hidden_size\n    sent", "model.hidden_size\n    sent", "experts' width sent whole"),
        ('"n_key_heads": max(linear.n_key_heads // tp, 1)', '"n_key_heads": linear.n_key_heads', "keys on every GPU"),
    ],
    "operators/elementwise.py": [
        ("(model.mixing + model.feeding) / layers", "2.0", "two norms in every layer"),
        ("+ conv * w.residual", "", "convolutions without weights"),
        ("model.attention_gate * sum", "0 * sum", "no gate of the outputs"),
    ],
    "common/matrices.py": [
        ("(kind.own, kind.n_kv_heads * kind.v_dim)", "(kind.layers, kind.n_kv_heads * kind.v_dim)", "shared values"),
        ("choosing = index.layers or layers", "choosing = layers", "an indexer in every layer"),
        ("wide, rank, shared = (2 if model.experts_gated", "wide, rank, shared = (2 if model.gated", "experts' gates"),
    ],
    "common/layers.py": [
        ("layers - shared + sharing", "layers - shared", "shared layers all see everything"),
        ("index.layers or self.attending", "self.attending", "keys of every layer"),
        ("not self.moe.dense_beside", "True", "no MLP beside experts"),
    ],
    "catalog/choosing.py": [
        ("if own > 1 and apart > 2:", "if False:", "an unrelated library of another architecture as a near one"),
        ("1.5 + 0.5 * near", "0.1 * near", "another format before another card"),
        ("            apart = -9.0", "            apart = 0.0", "fits of one's own among others"),
        ("0.25 if family not in", "0.0 if family not in", "the family asked for passed over"),
        ("each.gpu.id != DEFAULT_GPU and apart > 2", "False", "any GPU for want of the architecture"),
        ("0 if own else -each.fit.rows", "each.fit.rows", "an engine's rarest library"),
        ("SAME_ARCHITECTURE if alike else OTHER_MEMORY", "SAME_ARCHITECTURE", "HBM cards as GDDR cards"),
        ('kind == "LPD" and', "False and", "any SM of the architecture for chips that share memory with the CPU"),
        ("per_cycle(other, card) or inf", "per_cycle(other, card) or 1.0", "unknown SMs as alike"),
    ],
    "calibration/operators.py": [
        ("numbers.message_bytes * np.where(", "0 * numbers.message_bytes + np.where(", "messages without a size"),
        ('1, 2),\n        gated', '1, 1),\n        gated', "elements taken for bytes"),
        ("(table.seq_len_kv < 128)", "(table.seq_len_kv < 1)", "the shortest contexts are fitted"),
    ],
    "calibration/whole_catalog.py": [
        ("if each.gpu.id != name]", "]", "the error elsewhere of a fit to the GPU itself"),
        ("link_of(each.gpu) == link_of(card) and each.fit.engine == fit.engine]", "each.fit.engine == fit.engine]",
         "the error elsewhere over another link"),
        ("if successor is None or", "if", "fits of other kernels are lost"),
        ("fit.source != successor.source and", "", "an old fit stays beside its successor"),
        ("family=group.family)\n            fitted", "family=None)\n            fitted", "judged by another's fit"),
    ],
    "catalog/scaling.py": [
        ("*([] if own is None else [own])", "1.0", "a card of less power as fast"),
        ("spare * sustained", "sustained", "the lender's power limit on another card"),
        ("max(unlimited, share / lenders)", "unlimited", "no more than short kernels reach"),
        ("(1.0 if faster is None else faster)", "1.0", "the lender's share of another peak"),
        ('energy * WIDTH[KERNEL_FORMATS[form].computes] / WIDTH["bf16"]', "energy", "8 bits at the energy of 16"),
        ('fields["walk_ns"] / clocks', 'fields["walk_ns"] * clocks', "a faster clock walks slower"),
        ("peak / (gpu.sm_count * gpu.boost_mhz)", "peak / gpu.boost_mhz", "FLOPs of all SMs"),
    ],
    "catalog/gpu_entries.py": [
        ("2**30 * self.memory.reported_gib", "1e9 * self.memory.reported_gib", "GiB taken for GB"),
    ],
    "kernels/formats.py": [
        ('for dtype in ("fp16", "bf16") if all', 'for dtype in ("fp16",) if all', "fp16 for all"),
        ("if narrow else every", "if False else every", "a quantized head"),
        ("if said and not lacking:", "if said:", "a rate that a GPU has not"),
        ("by_weights=self.activation is None", "by_weights=False", "16-bit weights with 8-bit activations"),
    ],
    "explorer/bounds.py": [
        ("len(value) > most", "len(value) > 2 * most", "lists of any length"),
        ("len(path) == BUDGET.depth", "len(path) == 10 * BUDGET.depth", "nested ten times as deep"),
        ("not text.isprintable()", "not text", "marks that turn the direction of what follows"),
        ("not isfinite(item)", "item > 1e300", "NaN"),
    ],
    "explorer/page_server.py": [
        ("not re.fullmatch(OWN_NAMES, host)", "False", "any name of the server"),
        ("re.fullmatch(OWN_NAMES", "re.match(OWN_NAMES", "names that begin with the server's"),
        ('("none", "same-origin")', '("none", "same-origin", "same-site")', "pages of another port"),
        ('for name in ("Origin", "Referer")', 'for name in ("Referer",)', "any origin"),
        ('!= "document"', '== "worker"', "a part of another page"),
        (">= MAX_KERNELS", "> MAX_KERNELS", "one kernel too many"),
        ("3 * self.cull_interval", "10**9", "pages end while the machine sleeps"),
        ('in ("starting", "busy")', "in ()", "a slow page ends before it is shown"),
        ("self._page_within(0.0, kernel_id)", "pass", "a page that was left computes on"),
        ('"prelaunch_hook": _set_cookie', '"prelaunch_hook": None', "a closed page keeps its kernel"),
        ('"cull_busy": True', '"cull_busy": False', "a kernel without its page computes for ever"),
    ],
    "explorer/chart_looks.py": [
        ('"#[0-9a-fA-F]{6}"', '".*"', "any text as a colour of the page"),
        ('MARKER_SHAPES[one_of("marker", marker, MARKER_SHAPES)]', 'MARKER_SHAPES.get(str(marker), "circle")',
         "another shape than the one asked for"),
        ('row["series"] == RIDGE', "False", "a misread ridge as a range"),
    ],
    "tables/looks.py": [
        ('selection.get("color", color)', "color", "a chart's own colours passed over"),
        ('limits["y_low"] < limits["y_high"]', 'limits["y_low"] <= limits["y_high"]', "one value taken for a box"),
        ("heights[which == i]", "heights", "a range as high as all points of its series"),
    ],
    "files/folders.py": [
        ("os.O_DIRECTORY | os.O_NOFOLLOW", "os.O_DIRECTORY", "links to folders are opened"),
        ("if MARK not in self._names():", "if False:", "anybody's folder is worked in"),
        ("not in (0, os.geteuid())", "in ()", "another user's folder is worked in"),
        ("if not re.fullmatch(known, name, re.DOTALL):", "if False:", "anybody's files are removed"),
        ("        plain &= is_plain", "        plain |= is_plain", "links are gone on with"),
        ("dir_fd=folder, follow_symlinks=False", "dir_fd=folder", "links are taken for folders"),
        ("fcntl.LOCK_EX | fcntl.LOCK_NB", "fcntl.LOCK_SH | fcntl.LOCK_NB", "two runs write one output"),
        ("        if folder.lock():\n", "        if True:\n", "what another run works in is removed"),
        (" and path.read_bytes() == content", "", "metadata of the same length are trusted"),
        ("                self._mark()\n", "                pass\n", "a folder that stays is nobody's"),
    ],
    "files/formulas.py": [
        ("re.compile(\"'*[", "re.compile(\"[", "an apostrophe of the text's own is lost"),
        ("except ValueError:", "except KeyError:", "numbers alone are written"),
        ('text.startswith("\'") and', "", "numbers are read without their sign"),
    ],
    "files/json_streams.py": [
        ("if self.count > reading.BUDGET.line:", "if self.count < 0:", "records and texts without end"),
        ("if part.isdigit() and len(part) == size:", "if False:", "numbers without end"),
        ("if len(outer) > room:", "if len(outer) > room + 9:", "deeper within a record"),
        ('f"{path}.{value[:MAX_KEY]}"', 'f"{path}.{value}"', "long keys are held in every path below them"),
        ("or _may_go_on(part):", "or False:", "NaN between two parts of a file"),
    ],
    "files/reading.py": [
        ("if self._read > (limit :=", "if self._read > 9 * (limit :=", "unfolds to more"),
        ("if self.number > BUDGET.rows + 1000:", "if self.number > 99 * BUDGET.rows:", "lines without end"),
        ("if self.row + len(line) >= BUDGET.line:", "if len(line) >= BUDGET.line:", "a row over many lines"),
        ('if line.startswith("#") and not self.row:', 'if line.startswith("#"):', "lines of a quoted cell are lost"),
        ("elif begun and (self.row or line.strip()):", "elif begun and line.strip():", "a cell's blank lines are lost"),
        ("if len(self.comments) < MAX_COMMENTS:", "if True:", "comments without end"),
        ("if size > BUDGET.piped:", "if size < 0:", "pipes without end"),
        ("if self._held > BUDGET.text:", "if self._held < 0:", "texts without end"),
        ("if isinstance(path, Piped):\n        return path", "if False:\n        return path", "pipes are read twice"),
    ],
    "figures/params.py": [
        ("    if not given:", "    if given:", "a wrong key is drawn without a word"),
        ("next(filter(None, annotated), None)", "next(annotated, None)", "any cell before taken for the parameters'"),
    ],
    "figures/index.py": [
        ("left = [figure for figure in left if figure not in found]", "left = list(left)", "charts in several parts"),
    ],
    "audit/reading.py": [
        ("text[table.verdict == name] for", "text for", "every claim in every class"),
    ],
    "tables/notebook.py": [
        ('style.format(_shown, escape="html")', "style.format(_shown)", "texts are HTML"),
        (":,.4g}\"", ":,}\"", "numbers of seventeen digits"),
    ],
    "figures/outputs.py": [
        ("if most > MAX_COLUMNS:", "if most > 10**9:", "columns without end"),
    ],
    "timings/parquet.py": [
        ("resource.setrlimit(resource.RLIMIT_AS, (most, most))", "pass", "a page may take all memory"),
        ("if count > rows:", "if file.metadata.num_rows > rows:", "the footer's word on rows"),
        ("if held > texts:", "if held < 0:", "texts without end"),
    ],
    "files/writing.py": [
        ("temporary.touch(exist_ok=False)", "temporary.touch()", "a link in place of the temporary file"),
        ("if not stat.S_ISREG(kind):", "if stat.S_ISDIR(kind):", "links and devices are replaced"),
    ],
    "ending.py": [
        ("status = UNREAD if isinstance(end.__context__, BrokenPipeError) else end.code", "status = end.code",
         "a reader that has gone is an error"),
        ("    _on_interrupt(_end_at_once)\n    for stream", "    for stream", "Ctrl-C among imports is a traceback"),
        ("        if getattr(sys, stream) is None:", "        if False:", "a file takes the place of a closed stream"),
    ],
    "cluster.py": [
        ("            alone.set()\n", "", "the scheduler is said to be lost where its last worker is"),
        ("        if workers and since is not None:", "        if False:", "a worker that comes is not seen"),
    ],
    "measure/results.py": [
        ("            stack.enter_context(scratch(", "            (lambda *_: 0)(scratch(", "two runs write one file"),
        ("        remove_left(path.parent)\n", "", "what a killed run has left stays"),
    ],
    "measure/command.py": [
        ("            if was_interrupted():  # which", "            if False:  # which", "an interrupt becomes a note"),
        ("(signal.SIGTERM, signal.SIGHUP) if main_thread", "(signal.SIGTERM,) if main_thread", "SIGHUP loses rows"),
    ],
    "store.py": [
        ("if not (made or killed):", "if False:", "another's store is replaced"),
        ("        all_known(path, STORE)", "        pass", "another's file in a store is lost"),
        ("if beside.exists() and not made:", "if False:", "another's file is taken for a manifest"),
        ("            remove(store / left)", "            pass", "what zarr had not finished is put out"),
        ("not holds(mark, _chunk_bytes(store, names, mark))", "not mark.is_file()", "torn chunks are trusted"),
        ('f"grid-{made_of}.zarr"', 'f"grid-{0:016}.zarr"', "late workers of an earlier run write into the new store"),
        ("            aside.replace(there)", "            pass", "the earlier output does not come back"),
    ],
}  # fmt: skip


@contextmanager
def applied(mutant: Mutant, copy: Path) -> Iterator[None]:
    """The copy with a mutant in it as long as the block lasts."""
    path = copy / "workbench" / mutant.file
    text = path.read_text()
    if text.count(mutant.old) != 1:
        raise ValueError(f"{mutant.file} has {text.count(mutant.old)} times {mutant.old!r}: write the mutant anew")
    path.write_text(text.replace(mutant.old, mutant.new))
    try:
        yield
    finally:
        path.write_text(text)


def run(copy: Path, names: list[str]) -> tuple[str, str]:
    """What the tests of those names say of a copy: "passed", "failed", or what else came; and their last words."""
    files = [f"tests/test_{name}.py" for name in names]
    options = ["-x", "-q", "-n", "0", "-p", "no:cacheprovider", "-p", "mutants", "--hypothesis-profile=unshrunk"]
    environment = os.environ | {"PYTHONPATH": f"{copy}:{copy / 'tests'}", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", *options, *files]
    try:
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        return f"over {LIMIT} s", ""
    outcome = {0: "passed", 1: "failed"}.get(done.returncode, f"exit status {done.returncode}")
    return outcome, done.stdout[-2000:] + done.stderr[-2000:]


def main(words: list[str]) -> int:
    """Run the tests on every mutant; returns how many live."""
    every = [Mutant(file, *change) for file, changes in MUTANTS.items() for change in changes]
    chosen = [one for one in every if not words or any(word in one.file + one.note for word in words)]
    free: SimpleQueue[Path] = SimpleQueue()

    def tested(mutant: Mutant) -> str:
        copy = free.get()
        try:
            with applied(mutant, copy):
                return run(copy, TESTS[mutant.file])[0]
        finally:
            free.put(copy)

    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(PROCESSES) as pool:
        for number in range(PROCESSES):
            copy = Path(folder) / str(number)
            for part in ("workbench", "tests", "notebooks", "params", "figures"):
                shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
            shutil.copy(ROOT / "pyproject.toml", copy)
            free.put(copy)
        start, alive = time.monotonic(), 0
        outcome, words_of_it = run(copy, sorted({name for one in chosen for name in TESTS[one.file]}))
        if outcome != "passed":
            raise RuntimeError(f"without a mutant: {outcome}\n{words_of_it}")
        for mutant, outcome in zip(chosen, pool.map(tested, chosen), strict=True):
            alive += outcome == "passed"
            told = {"passed": "LIVES ", "failed": "killed"}.get(outcome, f"killed ({outcome})")
            print(f"{told} {mutant.file}: {mutant.note}", flush=True)
    print(f"{alive} of {len(chosen)} live; {time.monotonic() - start:.0f} s")
    return alive


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
