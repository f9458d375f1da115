"""Recurrent operations."""

import numpy as np
import torch

from case import NUMPY, TORCH, Input, case, numbers

f32 = np.float32

# Gates and states are at most 1; both sides compute in fp64.
NEAR = "abs:2e-7"

BOTH = f"{TORCH} and the formula in NumPy, which agree"

ACTIVATIONS = {
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "linear": lambda x: x,
}


def wide(array):
    return np.asarray(array, dtype=np.float64)


def record():
    rnn()
    lstm()
    gru()


def ran(step, x, state, reverse):
    """All states, in the order in which they were computed, and the last one. That `reverse` gives them in that order
    is what coremltools' tests of these operations expect."""
    states = []
    for row in wide(x)[::-1] if reverse else wide(x):
        state = step(row, *state)
        states.append(state[0])
    return np.stack(states), state


def rnn():
    x, h = numbers("rnn", (3, 2, 2), -1, 1), numbers("rnn", (2, 3), -1, 1)
    wi, wh, b = numbers("rnni", (3, 2), -1, 1), numbers("rnnh", (3, 3), -1, 1), f32([0.5, -0.25, 0])
    base = {"x": Input(x), "initial_h": Input(h), "weight_ih": wi, "weight_hh": wh}

    def states(f, bias=0.0, reverse=False):
        out, (last,) = ran(lambda x, h: (f(x @ wide(wi).T + h @ wide(wh).T + bias),), x, (wide(h),), reverse)
        return out, last

    out, last = states(np.tanh)
    case("rnn", NEAR, base, "the last state alone", (last[None], last), NUMPY)
    out, last = states(np.tanh, wide(b))
    net = torch.nn.RNN(2, 3, dtype=torch.float64)
    with torch.no_grad():
        for p, v in zip(net.parameters(), (wi, wh, b, 0 * b)):
            p.copy_(torch.tensor(wide(v)))
        assert np.allclose(net(torch.tensor(wide(x)), torch.tensor(wide(h))[None])[0].numpy(), out, atol=1e-12)
    case("rnn", NEAR, base | {"bias": b, "output_sequence": True}, "every state, a bias", (out, last), BOTH)
    out, last = states(ACTIVATIONS["relu"], reverse=True)
    args = base | {"activation": "relu", "direction": "reverse", "output_sequence": True}
    case("rnn", NEAR, args, "from the end, relu", (out, last), NUMPY)


def lstm():
    x = numbers("lstm", (3, 1, 2), -1, 1)
    h, c = f32([[0.5, -0.25]]), f32([[-0.5, 0.75]])
    wi, wh = numbers("lstmi", (8, 2), -1, 1), numbers("lstmh", (8, 2), -1, 1)
    b, p = numbers("lstmb", (8,), -1, 1), numbers("lstmp", (6,), -1, 1)
    wi2, wh2, b2 = numbers("back_i", (8, 2), -1, 1), numbers("back_h", (8, 2), -1, 1), numbers("back", (8,), -1, 1)

    def states(h, c, wi, wh, b=None, p=None, reverse=False, clip=None, names=("sigmoid", "tanh", "tanh")):
        gate, cell, out = (ACTIVATIONS[n] for n in names)

        def step(x, h, c):
            z = x @ wide(wi).T + h @ wide(wh).T + (0 if b is None else wide(b))
            i, f, o, g = np.split(z, 4, axis=-1)
            pi, pf, po = np.split(wide(p), 3) if p is not None else (0, 0, 0)
            i, f = gate(i + pi * c), gate(f + pf * c)
            g = cell(g)
            c = f * c + i * g
            if clip is not None:
                c = np.clip(c, -clip, clip)
            o = gate(o + po * c)
            return o * out(c), c

        sequence, last = ran(step, x, (wide(h), wide(c)), reverse)
        return sequence, *last

    base = {"x": Input(x), "initial_h": Input(h), "initial_c": Input(c), "weight_ih": wi, "weight_hh": wh}

    def with_torch(want, bidirectional, h, c, *weights):
        net = torch.nn.LSTM(2, 2, bidirectional=bidirectional, dtype=torch.float64)
        order = lambda w: np.concatenate([np.split(wide(w), 4)[k] for k in (0, 1, 3, 2)])  # noqa: E731
        values = [order(w) for w in weights]
        with torch.no_grad():
            for q, v in zip(net.parameters(), values):
                q.copy_(torch.tensor(v))
            split = lambda s: torch.tensor(np.stack(np.split(wide(s), 1 + bidirectional, axis=-1)))  # noqa: E731
            out, _ = net(torch.tensor(wide(x)), (split(h), split(c)))
        assert np.allclose(out.numpy(), want, atol=1e-12)

    s, h1, c1 = states(h, c, wi, wh)
    case("lstm", NEAR, base, "the last state alone", (h1[None], h1, c1), NUMPY)
    s, h1, c1 = states(h, c, wi, wh, b)
    with_torch(s, False, h, c, wi, wh, b, 0 * b)
    case("lstm", NEAR, base | {"bias": b, "output_sequence": True}, "every state, a bias", (s, h1, c1), BOTH)
    s, h1, c1 = states(h, c, wi, wh, b, reverse=True)
    case(
        "lstm",
        NEAR,
        base | {"bias": b, "output_sequence": True, "direction": "reverse"},
        "from the end; the sequence begins with the last step of x",
        (s, h1, c1),
        NUMPY,
    )
    case(
        "lstm",
        NEAR,
        base | {"bias": b, "direction": "reverse"},
        "from the end, the last state alone",
        (h1[None], h1, c1),
        NUMPY,
    )
    s, h1, c1 = states(h, c, wi, wh, b, p)
    case("lstm", NEAR, base | {"bias": b, "peephole": p}, "gates that see the cell", (h1[None], h1, c1), NUMPY)
    names = {"recurrent_activation": "sigmoid", "cell_activation": "relu", "activation": "linear"}
    s, h1, c1 = states(h, c, wi, wh, b, names=tuple(names.values()))
    case("lstm", NEAR, base | {"bias": b, "output_sequence": True} | names, "other activations", (s, h1, c1), NUMPY)
    hh, cc = f32([[0.5, -0.25, 0.25, 1]]), f32([[-0.5, 0.75, 0, -1]])
    s1, f1, g1 = states(hh[:, :2], cc[:, :2], wi, wh, b)
    s2, f2, g2 = states(hh[:, 2:], cc[:, 2:], wi2, wh2, b2, reverse=True)
    s2 = s2[::-1]  # Each step beside its element of x.
    join = lambda a, b: np.concatenate([a, b], axis=-1)  # noqa: E731
    with_torch(join(s1, s2), True, hh, cc, wi, wh, b, 0 * b, wi2, wh2, b2, 0 * b2)
    two = base | {"initial_h": Input(hh), "initial_c": Input(cc), "bias": b, "direction": "bidirectional"}
    two |= {"weight_ih_back": wi2, "weight_hh_back": wh2, "bias_back": b2}
    case(
        "lstm",
        NEAR,
        two | {"output_sequence": True},
        "both directions",
        (join(s1, s2), join(f1, f2), join(g1, g2)),
        BOTH,
    )
    last = join(f1, f2)
    case("lstm", NEAR, two, "both directions, the last states alone", (last[None], last, join(g1, g2)), NUMPY)


def gru():
    x, h = numbers("gru", (3, 1, 2), -1, 1), f32([[0.5, -0.25]])
    wi, wh = numbers("grui", (6, 2), -1, 1), numbers("gruh", (6, 2), -1, 1)
    b, bi = numbers("grub", (6,), -1, 1), numbers("grubi", (6,), -1, 1)

    def states(reverse=False, after=False, names=("sigmoid", "tanh"), bias=None, input_bias=None):
        gate, new = (ACTIVATIONS[n] for n in names)
        zero = np.zeros(6)
        (ir, io, iz), (hr, ho, hz) = np.split(wide(wi), 3), np.split(wide(wh), 3)
        br, bo, bz = np.split(zero if bias is None else wide(bias), 3)
        ar, ao, az = np.split(zero if input_bias is None else wide(input_bias), 3)

        def step(x, h):
            r = gate(x @ ir.T + ar + h @ hr.T + br)
            z = gate(x @ iz.T + az + h @ hz.T + bz)
            inner = r * (h @ ho.T + bo) if after else (r * h) @ ho.T + bo
            o = new(x @ io.T + ao + inner)
            return ((1 - z) * o + z * h,)

        out, (last,) = ran(step, x, (wide(h),), reverse)
        return out, last

    base = {"x": Input(x), "initial_h": Input(h), "weight_ih": wi, "weight_hh": wh}
    out, last = states()
    plain = f"{NUMPY}; the reset gate is applied to the state"
    case("gru", NEAR, base, "the last state alone", (last[None], last), plain)
    out, last = states(bias=b)
    case(
        "gru",
        NEAR,
        base | {"bias": b, "output_sequence": True},
        "every state, a bias",
        (out, last),
        plain,
        opset="ios17",
    )
    out, last = states(reverse=True, bias=b, input_bias=bi)
    case(
        "gru",
        NEAR,
        base | {"bias": b, "input_bias": bi, "output_sequence": True, "direction": "reverse"},
        "from the end, two biases",
        (out, last),
        plain,
    )
    out, last = states(after=True, bias=b, input_bias=bi)
    net = torch.nn.GRU(2, 2, dtype=torch.float64)
    order = lambda w: np.concatenate([np.split(wide(w), 3)[k] for k in (0, 2, 1)])  # noqa: E731
    with torch.no_grad():
        for q, v in zip(net.parameters(), (wi, wh, bi, b)):
            q.copy_(torch.tensor(order(v)))
        assert np.allclose(net(torch.tensor(wide(x)), torch.tensor(wide(h))[None])[0].numpy(), out, atol=1e-12)
    case(
        "gru",
        NEAR,
        base | {"bias": b, "input_bias": bi, "reset_after": True, "output_sequence": True},
        "the reset gate behind the product",
        (out, last),
        BOTH,
    )
