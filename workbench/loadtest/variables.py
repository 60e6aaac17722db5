"""The register of a load test's variables: units and long name of everything that `metrics` and `timeline` return."""

from ..common.variables import Variable

LOAD_TEST_VARIABLES: dict[str, Variable] = {
    "percentile": Variable("%", "percentile, linearly interpolated"),
    "window_start": Variable("s", "start of the window, from the first send"),
    "window_end": Variable("s", "end of the window, from the first send"),
    "last_send": Variable("s", "last send of the run, from the first"),
    "offered": Variable("1", "requests sent in the window"),
    "started": Variable("1", "requests that got their first token in the window"),
    "finished": Variable("1", "requests that finished in the window"),
    "failed": Variable("1", "requests that failed in the window"),
    "unfinished": Variable("1", "requests that had been sent and had not ended when the window did"),
    "finished_share": Variable("%", "finished requests over offered ones"),
    "uncounted": Variable("1", "started requests whose output tokens are unknown"),
    "offered_rate": Variable("1/s", "requests sent in the window, over its length"),
    "finished_rate": Variable("1/s", "requests that finished in the window, over its length"),
    "completion_rate": Variable("1/s", "requests whose last token came in the window, over its length"),
    "output_token_rate": Variable("1/s", "output tokens of requests that finished in the window, over its length"),
    "token_rate": Variable(
        "1/s", "output tokens that came in the window, of all requests whose count is known, over its length"
    ),
    "prompt_tokens": Variable("token", "mean prompt of the offered requests"),
    "output_tokens": Variable("token", "mean output of the finished requests"),
    "ttft": Variable("s", "time to first token, of requests that got one"),
    "tpot": Variable("s", "time per output token after the first, of finished requests with at least two"),
    "itl": Variable("s", "inter-token latency, of all tokens of the file; of the whole run alone"),
    "e2e": Variable("s", "end-to-end latency, of finished requests"),
    "ttft_samples": Variable("1", "requests behind ttft"),
    "tpot_samples": Variable("1", "requests behind tpot"),
    "itl_samples": Variable("1", "gaps between tokens behind itl"),
    "e2e_samples": Variable("1", "requests behind e2e"),
    "good": Variable("1", "finished requests that meet the objectives"),
    "goodput": Variable("1/s", "finished requests that meet the objectives, over the window's length"),
    "good_share": Variable("%", "finished requests that meet the objectives, over offered ones"),
    "mean_waiting": Variable("1", "requests sent and without a first token, mean over the window"),
    "mean_running": Variable("1", "requests between first and last token, mean over the window"),
    "running_of_finished": Variable(
        "1", "mean running by Little's law, of finished requests: their rate times mean decode time"
    ),
    "implied_token_rate": Variable("1/s", "output tokens per second of the running requests, each at the mean tpot"),
    "time": Variable("s", "start of the step, from the first send"),
    "step": Variable("s", "length of the step"),
    "waiting": Variable("1", "requests sent and without a first token, mean over the step"),
    "running": Variable("1", "requests between first and last token, mean over the step"),
    "sent_rate": Variable("1/s", "requests sent in the step, over its length"),
}
