//! Models in other formats: what `export` writes is the same model to every command.

use crate::place::Place;
use std::fs;
use std::path::Path;

/// A place with `m.bin` of llama2.c and its tokenizer.
fn place() -> Place {
    let place = Place::new();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures");
    for (from, to) in [("stories260K.bin", "m.bin"), ("tok512.bin", "tokenizer.bin")] {
        place.write(to, fs::read(fixtures.join(from)).expect("a fixture"));
    }
    place
}

/// What llama2.c's own test expects.
const STORY: &str = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. \
                     One day, she saw a big, red ball. She wanted to play with it, but it was too high.\n\
                     Lily's mom said, \"Lily, let's go to the park.\"";

#[test]
fn a_model_tells_the_same_story_in_every_format() {
    let place = place();
    let out = place.succeed("export m.bin folder --to hf");
    assert!(out.stdout.contains("folder/model.safetensors\n"), "{}", out.stdout);
    assert!(out.stderr.contains("260k weights as f32"), "{}", out.stderr);
    place.succeed("export folder m.gguf --to gguf");
    place.succeed("convert folder again/m.bin --to llama2c");
    assert!(place.read("m.bin") == place.read("again/m.bin"), "without loss");
    for model in ["m.bin", "folder", "m.gguf", "again/m.bin"] {
        let mut command = place.command("generate --threads 1 --temperature 0 --tokens 110 --prompt");
        let out = command.args(["Once upon a time", "--model", model]).output().expect("started");
        let text = String::from_utf8(out.stdout).expect("UTF-8");
        assert!(text.starts_with(STORY), "{model}: {text}");
    }
}

#[test]
fn what_cannot_be_exported_is_said_with_a_remedy() {
    let place = place();
    place.succeed("train --model tiny --data text.txt --batch 1 --steps 1 --quiet --threads 1 --out run");
    // A byte-level tokenizer has no place in llama2.c's file.
    let out = place.succeed("export run plain/m.bin --to llama2c");
    assert!(
        out.stderr.contains("warning: not written: the tokenizer: it is not SentencePiece's"),
        "{}",
        out.stderr
    );
    assert!(!place.exists("plain/tokenizer.bin"));
    let before = place.snapshot();
    for (args, want, hint) in [
        ("export run run --to hf", "`run` exists already", "Name another one"),
        ("export m.bin m.bin --to llama2c", "`m.bin` exists already", "Name another one"),
        ("export m.bin new --to hf --dtype q4_0", "its numbers cannot be q4_0", "--to gguf"),
        ("export tiny new --to hf", "cannot read `tiny`", "Check the path."),
    ] {
        let outcome = place.run(args);
        assert_eq!(outcome.code, Some(2), "{args}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(want) && outcome.stderr.contains(hint), "{args}: {}", outcome.stderr);
    }
    let outcome = place.run("export m.bin new --to gguf --shard-size 1.5GB");
    assert!(
        outcome.code == Some(2) && outcome.stderr.contains("is no size such as 5GB"),
        "{}",
        outcome.stderr
    );
    place.run("export m.bin new --to hf --dtype q4_0");
    let left = fs::read_dir(place.path("new")).map_or(0, |entries| entries.count());
    assert_eq!(left, 0);
    let _ = fs::remove_dir(place.path("new"));
    assert!(before == place.snapshot());
}

#[test]
fn a_key_that_nothing_is_known_of_is_named_and_not_refused() {
    let place = place();
    place.succeed("export m.bin folder --to hf");
    let config = String::from_utf8(place.read("folder/config.json")).expect("UTF-8");
    place
        .write("folder/config.json", config.replacen('{', "{\"my_note\": \"a model\", \"my_loss\": 2.5,", 1));
    let want =
        "warning: nothing is known of `my_note`, `my_loss` in the model's configuration; they are not read";
    for command in ["export folder m.gguf --to gguf", "generate --model folder --prompt Once --tokens 2"] {
        let outcome = place.succeed(command);
        assert!(outcome.stderr.contains(want), "{command}: {}", outcome.stderr);
    }
    let info = place.succeed("info folder --json").json();
    assert_eq!(info["unknown_keys"], serde_json::json!(["my_note", "my_loss"]));
    // A model with windows, which llama.cpp does not compute in its architecture.
    let mistral = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/architectures/mistral");
    let outcome = place.succeed(&format!("export {} w.gguf --to gguf", mistral.display()));
    assert!(
        outcome.stderr.contains("warning: llama.cpp ignores `llama.attention.sliding_window`"),
        "{}",
        outcome.stderr
    );
}
