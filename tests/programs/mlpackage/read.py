"""Lets coremltools read packages that backpropane wrote.

    cargo build --release
    venv/bin/python read.py ../../../target/release/backpropane

Each package of this folder is converted to text and to a package again. coremltools loads that, and finds the program, the
description and the weights that it saved itself: every message is compared, but for what a text does not hold (images,
defaults, the maker's notes). Then it makes its own program of it, which checks types and operations.
"""

import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import coremltools as ct
from coremltools.converters.mil.frontend.milproto.load import load as load_program

HERE = Path(__file__).parent
warnings.filterwarnings("ignore")


def plain(spec):
    """What a text holds."""
    spec.description.ClearField("metadata")
    features = list(spec.description.input)
    for feature in features:
        if feature.type.WhichOneof("Type") == "imageType":
            feature.ClearField("type")
    return spec


def same(a, b):
    """Like `==`, but maps and the order of their entries are compared as maps."""
    return a.SerializeToString(deterministic=True) == b.SerializeToString(deterministic=True)


def main(backpropane):
    for folder in sorted(p for p in HERE.iterdir() if (p / "model.mlpackage").is_dir()):
        with tempfile.TemporaryDirectory() as place:
            text, package = Path(place) / "model.mil", Path(place) / "written.mlpackage"
            for command in ([folder / "model.mlpackage", text], [text, package]):
                subprocess.run([backpropane, "mil", "convert", *map(str, command)], check=True, capture_output=True)
            model = ct.models.MLModel(str(package), skip_model_load=True)
            own = ct.models.MLModel(str(folder / "model.mlpackage"), skip_model_load=True)
            a, b = plain(model.get_spec()), plain(own.get_spec())
            for part in ("mlProgram", "description", "specificationVersion"):
                x, y = getattr(a, part), getattr(b, part)
                if part == "description" and folder.name == "image-ios16":
                    x.ClearField("input"), y.ClearField("input")
                if not (x == y if part == "specificationVersion" else same(x, y)):
                    print(f"{folder.name}: {part} differs:\n{x}\n\n{y}")
                    raise SystemExit(1)
            note = "the same"
            # coremltools does not read back lists, classifiers and inputs with several shapes.
            if not folder.name.startswith(("list", "classifier", "enumerated")):
                load_program(model.get_spec(), specification_version=a.specificationVersion, file_weights_dir=model.weights_dir)
                note += ", and a program"
            print(f"{folder.name}: {note}")


if __name__ == "__main__":
    main(sys.argv[1])
