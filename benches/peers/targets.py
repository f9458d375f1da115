"""The targets on a processor with AMX, 2 threads, and whether they are met: targets.py RESULT, of `bench peers --json`.

Each cell is a ratio of the shortest steps of all rounds (of peak memory in the last column), and at most its target; `auto` is
`--math f16x3` there.  A cell that was not measured is not met.  Exit code 1 if a target is not met, 2 if the file is no such
result.
"""
import json, sys

COLUMNS = ("auto over fp32", "auto over bf16", "bf16 over bf16", "memory over PyTorch's")
TARGETS = {
    "layer768": (0.45, 1.00, 0.70, 0.35),
    "stories110m": (0.45, 0.85, 0.60, 0.85),
    "stories15m": (0.50, 0.65, 0.50, 0.40),
}


def best(result, model, what, is_it):
    """The shortest step, or the peak memory, of the rows that `is_it` chooses; None if there is none, or one failed."""
    rows = [r for r in result["rows"] if r["model"] == model and is_it(r)]
    if not rows or any(r["problem"] or not r["rounds"] for r in rows):
        return None
    return (max if what == "mib" else min)(round[what] for r in rows for round in r["rounds"])


def ratios(result, model):
    ours = lambda math: lambda r: r["program"] == f"backpropane --math {math}"
    torch = lambda bf16: lambda r: r["program"].startswith("PyTorch, compiled") and r["bf16"] == bf16
    for what, of, over in (
        ("min_ms", ours("f16x3"), torch(False)),
        ("min_ms", ours("f16x3"), torch(True)),
        ("min_ms", ours("bf16"), torch(True)),
        ("mib", ours("f16x3"), torch(False)),
    ):
        above, below = best(result, model, what, of), best(result, model, what, over)
        yield above / below if above and below else None


def main():
    try:
        with open(sys.argv[1], encoding="utf-8") as file:
            result = json.load(file)
        if result["command"] != "bench peers":
            raise ValueError("another command")
    except (IndexError, OSError, ValueError, KeyError, TypeError):
        print(f"error: give one file that `backpropane bench peers --json` has written, not {sys.argv[1:]}", file=sys.stderr)
        sys.exit(2)
    print(f"{result['processor']}, {result['instructions']}, {result['threads']} threads, {result['rounds']} rounds, {result['date']}\n")
    print("| | " + " | ".join(COLUMNS) + " |\n|" + "---|" * (len(COLUMNS) + 1))
    met = True
    for model, targets in TARGETS.items():
        cells = []
        for ratio, target in zip(ratios(result, model), targets):
            passed = ratio is not None and ratio <= target
            met = met and passed
            shown = "not measured" if ratio is None else f"{ratio:.2f}"
            cells.append(f"{shown}, {'pass' if passed else 'FAIL'} (≤ {target:.2f})")
        print(f"| {model} | " + " | ".join(cells) + " |")
    wrong = [f"it ran on {result['threads']} threads, not 2"] if result["threads"] != 2 else []
    wrong += [f"it has {result['rounds']} rounds, not at least 5"] if result["rounds"] < 5 else []
    for problem in wrong:
        print(f"\nThe targets do not apply: {problem}.")
    sys.exit(0 if met and not wrong else 1)


main()
