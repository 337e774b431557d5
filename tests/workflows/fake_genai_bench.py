"""A program that takes genai-bench's arguments and misbehaves as FAKE_GENAI_BENCH says."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ARGUMENTS = sys.argv[1:]
MODE = os.environ.get("FAKE_GENAI_BENCH", "good")
PERCENTILES = ("min", "max", "mean", "stddev", "sum", "p25", "p50", "p75", "p90", "p95", "p99")


def option(name):
    return ARGUMENTS[ARGUMENTS.index(name) + 1]


def options(name):
    return [ARGUMENTS[at + 1] for at, word in enumerate(ARGUMENTS) if word == name]


FOLDER = Path(option("--experiment-base-dir"), option("--experiment-folder-name"))


def record(scenario, failed=False):
    given, wanted = (int(n) for n in scenario[2:-1].split(","))
    if failed:
        return {"error_code": 500, "error_message": "out of slots"}
    return {
        **{"error_code": None, "error_message": None, "ttft": 0.1, "tpot": 0.01},
        **{"e2e_latency": 1.0, "num_input_tokens": given + 30},
        "num_output_tokens": 3 if MODE == "short" else wanted,
    }


def run_file(scenario):
    count, users = int(option("--max-requests-per-run")), int(option("--num-concurrency"))
    seconds = 60.0 if MODE == "vanish" else count / users + 0.6  # it ends at its own pace
    records = [record(scenario, MODE == "half" and n % 2 == 0) for n in range(count)]
    stats = {
        name: dict.fromkeys(PERCENTILES, value)
        for name, value in (("ttft", 0.1), ("tpot", 0.01), ("e2e_latency", 1.0))
    }
    totals = {
        **{"scenario": scenario, "num_concurrency": users, "run_duration": seconds},
        "mean_output_throughput_tokens_per_s": sum(r.get("num_output_tokens", 0) for r in records)
        / seconds,
        "mean_input_throughput_tokens_per_s": 50.0,
        "mean_total_tokens_throughput_tokens_per_s": 60.0,
        **{"requests_per_second": count / seconds, "error_rate": 0, "stats": stats},
    }
    return json.dumps(
        {
            "aggregated_metrics": totals,
            "individual_request_metrics": records,
            "_time_unit": option("--metrics-time-unit"),
        },
        indent=4,
    )


def tell_times():
    users = int(option("--num-concurrency"))
    for number in range(int(option("--max-requests-per-run"))):
        began = 100.0 + (15 * number if MODE == "vanish" else number // users)
        print("DEBUG    x - genai_bench.user.openai_user:parse_chat_response - Generated text: My")
        print(f"secret\nFinish reason: length\nStart Time: {began}\nEnd Time: {began + 1.0}")


def write(scenario):
    name = "".join(c if c.isalnum() else "_" for c in scenario)
    text = run_file(scenario)
    kind = "debug_for_run_x.json" if MODE == "all_failed" else f"{name}_c_1_time_1s.json"
    (FOLDER / kind).write_text(text[: len(text) // 2] if MODE == "garbage" else text)


def show_start():
    words = " ".join(["genai-bench", *ARGUMENTS])
    (FOLDER / "experiment_metadata.json").write_text(json.dumps({"cmd": words}))
    (FOLDER / "environment.json").write_text(json.dumps(dict(os.environ)))
    (FOLDER / "arguments.json").write_text(json.dumps(ARGUMENTS))
    (FOLDER / "genai_bench.log").write_text("a second log")
    print(f"api_key: {option('--api-key')}")
    print("Starting benchmark with concurrency=1", flush=True)


def main():
    show_start()
    if MODE == "family":
        ignore = (
            "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(99)"
        )
        child = subprocess.Popen([sys.executable, "-c", ignore])
        (FOLDER / "child.pid").write_text(str(child.pid))
        print("the child is there", flush=True)
        time.sleep(99)
    if MODE == "hang":
        time.sleep(99)
    if MODE == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if MODE == "noise":
        sys.stdout.buffer.write(b"\xff\xfe\x00 noise\n" * 20_000)
    if MODE == "aborted":
        print("Aborted!")
        return 1
    if MODE == "disk":
        print("OSError: [Errno 28] No space left on device")
        return 1
    if MODE != "nothing":
        for scenario in options("--traffic-scenario"):
            if MODE == "all_failed":
                globals()["record"] = lambda scenario, failed=False: {
                    "error_code": 503,
                    "error_message": "Connection refused",
                }
            if MODE not in ("half", "timeless"):
                tell_times()
            write(scenario)
    (FOLDER / "plot.png").write_text("a plot")
    if MODE in ("good_but_1", "all_failed"):
        print("ValueError: the plot went wrong")
        return 1
    if MODE == "good":
        time.sleep(99)  # it draws plots that nobody waits for
    return 0


if __name__ == "__main__":
    sys.exit(main())
