"""Asks a server with many clients for some time; compares the answers with those of one client, and memory at both ends.

    backpropane serve --model SmolLM2-135M-Instruct.gguf --context 512 & python tests/serve/load.py --pid $! --seconds 600

Needs nothing but Python. Some clients go away within an answer; some want events. Exits with 1 if an answer is not that of one client
alone, if one fails, or if memory grows by more than 5 % after the first quarter.
"""

import argparse
import http.client
import json
import random
import threading
import time

parser = argparse.ArgumentParser()
parser.add_argument("--host", default="127.0.0.1")
parser.add_argument("--port", type=int, default=8080)
parser.add_argument("--clients", type=int, default=32)
parser.add_argument("--seconds", type=float, default=60)
parser.add_argument("--tokens", type=int, default=32)
parser.add_argument("--pid", type=int, help="the server's process, to read its memory (Linux)")
args = parser.parse_args()

PROMPTS = [f"{who} {what}" for who in ("The king", "A small dog", "My friend") for what in ("went to", "said that", "has a")]


def ask(prompt, stream=False, leaves=False, tokens=None):
    """The text, None if this client went away, or an error."""
    body = {"model": MODEL, "prompt": prompt, "max_tokens": tokens or args.tokens, "temperature": 0, "stream": stream}
    connection = http.client.HTTPConnection(args.host, args.port, timeout=600)
    try:
        connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
        if leaves:
            time.sleep(random.random() / 4)
            return None
        response = connection.getresponse()
        answer = response.read().decode()
        if response.status == 429:
            time.sleep(int(response.headers["Retry-After"]) / 10)
            return 429
        if response.status != 200:
            raise RuntimeError(answer)
        if not stream:
            return json.loads(answer)["choices"][0]["text"]
        events = [line[6:] for line in answer.split("\n") if line.startswith("data: ")]
        if events.pop() != "[DONE]":
            raise RuntimeError("an answer in events is not whole")
        return "".join(c["text"] for e in events for c in json.loads(e)["choices"])
    finally:
        connection.close()


def memory():
    if not args.pid:
        return 0.0
    for line in open(f"/proc/{args.pid}/status"):
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


connection = http.client.HTTPConnection(args.host, args.port)
connection.request("GET", "/v1/models")
MODEL = json.loads(connection.getresponse().read())["data"][0]["id"]
alone = {prompt: ask(prompt) for prompt in PROMPTS}
counts = {"same": 0, "left": 0, "busy": 0, "different": 0, "failed": 0}
lock, end = threading.Lock(), time.time() + args.seconds


def client(seed):
    choose = random.Random(seed)
    while time.time() < end:
        prompt, stream, leaves = choose.choice(PROMPTS), choose.random() < 0.5, choose.random() < 0.1
        try:
            got = ask(prompt, stream, leaves)
            what = {None: "left", 429: "busy"}.get(got) or ("same" if got == alone[prompt] else "different")
            if what == "different":
                print("alone", repr(alone[prompt]), "\ngot  ", repr(got), flush=True)
        except Exception as error:
            what = "failed"
            print(type(error).__name__, error, flush=True)
        with lock:
            counts[what] += 1


clients = [threading.Thread(target=client, args=(i,)) for i in range(args.clients)]
before, began = memory(), time.time()
for thread in clients:
    thread.start()
seen = []
while any(thread.is_alive() for thread in clients):
    time.sleep(min(5, args.seconds / 20))
    seen.append(memory())
took = time.time() - began
quarter = max(seen[: max(1, len(seen) // 4)])
print(f"{args.clients} clients, {took:.0f} s:", ", ".join(f"{n} {what}" for what, n in counts.items()))
print(f"{counts['same'] * args.tokens / took:.1f} tokens/s in whole answers of {args.tokens} tokens")
print(f"memory {before:.1f} MiB before, {quarter:.1f} MiB after the first quarter, {max(seen[-3:]):.1f} MiB at the end")
grew = args.pid and max(seen[-3:]) > 1.05 * quarter
raise SystemExit(1 if counts["failed"] or counts["different"] or grew else 0)
