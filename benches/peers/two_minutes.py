"""What PyTorch learns from the tokens of a run of backpropane in the same time, by its best recipe known to us.

    backpropane train --out runs/ours                       # the default run: built-in plays, two minutes
    venvs/torch/bin/python two_minutes.py ../../runs/ours   # the same tokens, the same held-out windows, as many seconds

The run's folder gives tokens, tokenizer and the windows that are held out, so both figures are of the same bytes.  If the run
has finished, its own windows and bits per byte are compared and shown.  The recipe: Muon for the hidden matrices (Nesterov,
five Newton-Schulz steps), AdamW for embedding and norms, linear decay, RMSNorm on queries and keys, zero-initialised
outputs, Llama's layers; fp32 or bf16 autocast, whichever is faster here.  Exit code 1 if a number is not finite.
"""
import argparse, json, math, pathlib, sys, time

HELD_OUT = 0.05  # crates/train/src/run/corpus.rs
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # Keller Jordan's coefficients


def parse():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("run", type=pathlib.Path, help="the folder of a run of `backpropane train`")
    ap.add_argument("--seconds", type=float, help="time to train [default: that of the run's steps, or 120]")
    ap.add_argument("--dtype", default="auto", choices=("auto", "fp32", "bf16"))
    ap.add_argument("--compile", action="store_true", help="torch.compile; compiling counts as training")
    ap.add_argument("--optimizer", default="muon", choices=("muon", "adamw"))
    for name, default in (("threads", 2), ("dim", 256), ("layers", 4), ("head", 32), ("seq", 128), ("batch", 8), ("seed", 0)):
        ap.add_argument(f"--{name}", type=int, default=default)
    for name, default in (("lr", 3e-3), ("muon-lr", 0.02), ("decay", 0.1), ("beta2", 0.99)):
        ap.add_argument(f"--{name}", type=float, default=default)
    return ap.parse_args()


def fail(problem):
    sys.exit(f"error: {problem}")


def read_run(folder):
    """(tokens, bytes of each token's text, tokens of a window, last validation or None, seconds of all steps or None)."""
    import numpy as np
    for name in ("config.json", "tokenizer.json", "tokens.bin"):
        if not (folder / name).is_file():
            fail(f"`{folder}` has no `{name}`: name the folder of a run of `backpropane train` on text")
    config = json.loads((folder / "config.json").read_text())
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    special = {t["id"] for t in tokenizer["added_tokens"] if t["special"]}
    lengths = np.zeros(config["vocab_size"], np.int64)
    for text, number in tokenizer["model"]["vocab"].items():
        if number not in special:
            lengths[number] = len(text)  # byte level: a character is a byte
    tokens = np.fromfile(folder / "tokens.bin", "<u2" if config["vocab_size"] <= 1 << 16 else "<u4").astype(np.int64)
    metrics, validation, seconds = folder / "metrics.jsonl", None, None
    lines = [json.loads(line) for line in metrics.read_text().splitlines()] if metrics.is_file() else []
    for line in lines:
        if line["kind"] == "validation":
            validation = line
    times = [line["ms"] for line in lines if line["kind"] == "step" and "ms" in line]
    if times:
        seconds = sum(times) / 1e3
    return tokens, lengths, config["max_position_embeddings"], validation, seconds


def split(tokens, window):
    """The place of the first held-out token, and the starts of all held-out windows: crates/train/src/data/split.rs."""
    share = int(len(tokens) * HELD_OUT)
    cut = len(tokens) - min(max(share, window + 1), len(tokens) - window - 1)
    return cut, range(cut, len(tokens) - window, window)


def build(a, vocab):
    import torch, torch.nn as nn, torch.nn.functional as F
    dim, heads, hidden = a.dim, a.dim // a.head, a.dim * 8 // 3 // 32 * 32
    if dim % a.head or a.head % 2:
        fail(f"--dim {dim} is no multiple of --head {a.head}, or that is odd")

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2 = nn.RMSNorm(dim), nn.RMSNorm(dim)
            self.q_norm, self.k_norm = nn.RMSNorm(a.head), nn.RMSNorm(a.head)
            matrix = lambda to, of: nn.Linear(of, to, bias=False)
            self.wq, self.wk, self.wv, self.wo = (matrix(dim, dim) for _ in range(4))
            self.w1, self.w3, self.w2 = matrix(hidden, dim), matrix(hidden, dim), matrix(dim, hidden)
            nn.init.zeros_(self.wo.weight)
            nn.init.zeros_(self.w2.weight)

        def forward(self, x, cos, sin):
            def turn(t):
                half = torch.cat((-t[..., a.head // 2:], t[..., :a.head // 2]), -1)
                return t * cos + half * sin

            h = self.norm1(x)
            q, k, v = (w(h).unflatten(-1, (heads, a.head)).transpose(1, 2) for w in (self.wq, self.wk, self.wv))
            q, k = turn(self.q_norm(q.float())), turn(self.k_norm(k.float()))
            h = F.scaled_dot_product_attention(q, k, v.to(q.dtype), is_causal=True)
            x = x + self.wo(h.transpose(1, 2).flatten(2))
            h = self.norm2(x)
            return x + self.w2(F.silu(self.w1(h)) * self.w3(h))

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(vocab, dim)
            nn.init.normal_(self.embedding.weight, std=0.02)
            self.layers = nn.ModuleList(Layer() for _ in range(a.layers))
            self.norm = nn.RMSNorm(dim)

        def forward(self, x, y):
            angles = torch.outer(torch.arange(x.shape[1]), 1e4 ** (-torch.arange(0, a.head, 2) / a.head)).repeat(1, 2)
            h = self.embedding(x)
            for layer in self.layers:
                h = layer(h, angles.cos(), angles.sin())
            logits = F.linear(self.norm(h), self.embedding.weight)
            return F.cross_entropy(logits.float().flatten(0, 1), y.flatten())

    return Model()


class Muon:
    """Muon on matrices: orthogonalised Nesterov momentum, scaled by sqrt(max(1, rows/columns)), decoupled decay."""

    def __init__(self, matrices, momentum=0.95):
        import torch
        self.torch, self.matrices, self.momentum = torch, matrices, momentum
        self.buffers = [torch.zeros_like(m) for m in matrices]

    def step(self, lr, decay):
        with self.torch.no_grad():
            for matrix, buffer in zip(self.matrices, self.buffers):
                buffer.mul_(self.momentum).add_(matrix.grad)
                update = self.orthogonal(matrix.grad + self.momentum * buffer)
                rows, columns = matrix.shape
                matrix.mul_(1 - lr * decay).add_(update, alpha=-lr * max(1, rows / columns) ** 0.5)

    def orthogonal(self, x):
        tall = x.shape[0] > x.shape[1]
        x = (x.T if tall else x) / (x.norm() + 1e-7)
        a, b, c = NEWTON_SCHULZ
        for _ in range(5):
            gram = x @ x.T
            x = a * x + (b * gram + c * gram @ gram) @ x
        return x.T if tall else x


def trainer(a, torch, model, loss_of, tokens, cut):
    """step(share of the time that has passed, bf16): one optimizer step; returns the loss."""
    generator = torch.Generator().manual_seed(a.seed)
    named = [(n, p) for n, p in model.named_parameters()]
    hidden = [p for n, p in named if p.ndim == 2 and not n.startswith("embedding")]
    muon = Muon(hidden) if a.optimizer == "muon" else None
    groups = [dict(params=[p for n, p in named if n.startswith("embedding") or p.ndim < 2], weight_decay=0.0)]
    if muon is None:
        groups.append(dict(params=hidden, weight_decay=a.decay))
    adam = torch.optim.AdamW(groups, lr=a.lr, betas=(0.9, a.beta2), fused=True)
    done = 0

    def step(share, bf16):
        nonlocal done
        done += 1
        rate = min(1.0, done / 50) * max(0.0, 1.0 - share)
        starts = torch.randint(cut - a.seq, (a.batch, 1), generator=generator)
        window = tokens[starts + torch.arange(a.seq + 1)]
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = loss_of(window[:, :-1], window[:, 1:])
        model.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in adam.param_groups:
            group["lr"] = a.lr * rate
        adam.step()
        if muon:
            muon.step(a.muon_lr * rate, a.decay)
        return loss.item()

    return step


def faster_in_bf16(a, torch, vocab, tokens, cut):
    """Whether steps of a model of its own are faster in bf16: the shortest of ten each, alternating."""
    model = build(a, vocab)
    step, least = trainer(a, torch, model, model, tokens, cut), {False: math.inf, True: math.inf}
    for i in range(24):
        bf16, began = i % 2 == 1, time.perf_counter()
        step(0.0, bf16)
        if i >= 4:
            least[bf16] = min(least[bf16], time.perf_counter() - began)
    return least[True] < least[False]


def main():
    a = parse()
    tokens, lengths, window, theirs, seconds = read_run(a.run)
    import torch
    torch.set_num_threads(a.threads)
    torch.manual_seed(a.seed)
    cut, starts = split(tokens, window)
    held_out = sum(int(lengths[tokens[s + 1:s + window + 1]].sum()) for s in starts)
    if theirs and theirs["windows"] != len(starts):
        fail(f"the run was validated on {theirs['windows']} windows, these are {len(starts)}: finish the run first")
    if theirs and theirs["bits_per_byte"]:
        their_bytes = theirs["loss"] * len(starts) * window / math.log(2) / theirs["bits_per_byte"]
        if abs(their_bytes - held_out) > 0.5:
            fail(f"the run was validated on {their_bytes:.0f} bytes, these are {held_out}: it is of another version")
    vocab, tokens = len(lengths), torch.from_numpy(tokens)
    bf16 = faster_in_bf16(a, torch, vocab, tokens, cut) if a.dtype == "auto" else a.dtype == "bf16"
    torch.manual_seed(a.seed)
    model = build(a, vocab)
    step = trainer(a, torch, model, torch.compile(model) if a.compile else model, tokens, cut)
    limit, steps, loss, began = a.seconds or seconds or 120.0, 0, math.nan, time.perf_counter()
    while (passed := time.perf_counter() - began) < limit:
        loss, steps = step(passed / limit, bf16), steps + 1
    with torch.no_grad():  # in fp32, as backpropane's products are
        nats = 0.0
        for first in range(0, len(starts), 32):
            windows = torch.stack([tokens[s:s + window + 1] for s in starts[first:first + 32]])
            nats += model(windows[:, :-1], windows[:, 1:]).item() * len(windows) * window
    bits = nats / math.log(2) / held_out
    count = sum(p.numel() for p in model.parameters())
    how = f"{a.optimizer}, {'bf16' if bf16 else 'fp32'}{', compiled' if a.compile else ''}"
    print(f"PyTorch {torch.__version__.split('+')[0]}, {how}: {bits:.4f} bits per byte on {len(starts)} windows, {held_out} bytes"
          f"  # {limit:.0f} s, {steps} steps of {a.batch * a.seq} tokens, {count / 1e6:.2f}M parameters, last loss {loss:.3f}")
    if theirs and theirs.get("bits_per_byte"):
        print(f"backpropane, `{a.run}`: {theirs['bits_per_byte']:.4f} bits per byte on {theirs['windows']} windows"
              + (f"  # {seconds:.0f} s of steps" if seconds else ""))
    if not math.isfinite(bits):
        fail(f"the loss is not finite after {steps} steps")


main()
