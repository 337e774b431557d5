"""A program that behaves like an engine, well or badly. Only the standard library is needed."""

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model")
    parser.add_argument("--served-name", default="fake")
    parser.add_argument("--slow-start", type=float, default=0, help="seconds before it listens")
    parser.add_argument("--loading", type=float, default=0, help="seconds of 503")
    parser.add_argument("--hang", action="store_true", help="never answers a completion")
    parser.add_argument("--hang-after", type=int, help="answers so many completions, then hangs")
    parser.add_argument("--say", default="", help="a line for the log")
    parser.add_argument("--exit", type=int, help="ends at once with this code")
    parser.add_argument("--die-after", type=int, help="ends after so many completions")
    parser.add_argument("--ignore-term", action="store_true")
    parser.add_argument("--helper", choices=["session", "child"])
    parser.add_argument("--flood", type=int, default=0, help="MiB of log before it listens")
    parser.add_argument("--refuse-after", type=int, help="stops listening after so many requests")
    parser.add_argument("--chat-only", action="store_true")
    parser.add_argument("--no-tokens", action="store_true")
    parser.add_argument("--no-props", action="store_true", help="tells no configuration")
    parser.add_argument("--refuse", action="store_true", help="answers completions with 400")
    return parser.parse_args()


class Handler(BaseHTTPRequestHandler):
    options: argparse.Namespace
    began = 0.0
    completions = 0

    def do_GET(self) -> None:
        if self.path == "/props" and not self.options.no_props:
            mark = {k: v for k, v in os.environ.items() if k.startswith(("AUTOTUNER", "CUDA"))}
            self._answer(200, {"arguments": sys.argv[1:], "environment": mark})
        elif time.monotonic() - self.began < self.options.loading:
            self._answer(503, {"error": "Loading model"})
        else:
            self._answer(200, {"status": "ok"})
        self._count_request()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.options.hang or self.completions == self.options.hang_after:
            time.sleep(600)
        if self.options.chat_only and "chat" not in self.path:
            self._answer(404, {"error": "not found"})
            return
        if self.options.refuse:
            self._answer(400, {"error": "I would rather not"})
            return
        tokens = 0 if self.options.no_tokens else 2
        choice = {"text": "ab" * tokens, "message": {"content": "ab" * tokens}}
        self._answer(200, {"choices": [choice], "usage": {"completion_tokens": tokens}})
        type(self).completions += 1
        if self.completions == self.options.die_after:
            print(self.options.say, flush=True)
            os._exit(7)

    def _count_request(self) -> None:
        if self.options.refuse_after is not None:
            type(self).options.refuse_after -= 1
            if self.options.refuse_after < 0:
                threading.Thread(target=self.server.shutdown).start()

    def _answer(self, status: int, body: Any) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:
        pass


def _start_helper(kind: str) -> None:
    """A process that outlives its parent unless somebody ends it."""
    command = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"]
    environment = dict(os.environ)
    if kind == "child":
        environment = {"PATH": os.environ.get("PATH", "")}
    helper = subprocess.Popen(command, start_new_session=kind == "session", env=environment)
    print(f"helper {helper.pid}", flush=True)


def main() -> None:
    options = _options()
    if options.ignore_term:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if options.helper:
        _start_helper(options.helper)
    if options.die_after is None and options.say:
        print(options.say, flush=True)
    if options.exit is not None:
        sys.exit(options.exit)
    for number in range(options.flood * 1024):
        sys.stdout.write(f"{number:8d} ".ljust(1023, "x") + "\n")
    sys.stdout.flush()
    time.sleep(options.slow_start)
    Handler.options, Handler.began = options, time.monotonic()
    server = ThreadingHTTPServer(("127.0.0.1", options.port), Handler)
    print("serving", flush=True)
    server.serve_forever(poll_interval=0.05)
    server.server_close()
    print("stopped listening", flush=True)
    time.sleep(600)


if __name__ == "__main__":
    main()
