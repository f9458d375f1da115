//! Bad input gets a sentence that names the file and the remedy, exit code 2, and leaves all files as they were.

use crate::place::{Outcome, Place};
use crate::tools::tokens;

const CONFIG: &str = r#"{"model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4,
"num_key_value_heads": 3, "num_hidden_layers": 2, "vocab_size": 320, "max_position_embeddings": 32}"#;

/// A place with a trained model in `run`, and files that are wrong in one way each.
fn prepared() -> Place {
    let place = Place::new();
    place.succeed("train --model tiny --data text.txt --batch 1 --steps 2 --quiet --out run");
    place.write("empty.txt", "");
    place.write("short.txt", "to be, or not");
    place.write("latin1.txt", b"caf\xe9 ".repeat(1000));
    place.write("novels/readme.md", "no text here");
    place.write("odd.bin", [0; 1001]);
    place.write("wide.bin", [7, 0, 0, 0].repeat(300));
    place.write("broken.jsonl", "{\"text\": \"to be\"}\n{\"txt\": \"to be\"}\n");
    place.write("records.jsonl", "{\"text\": \"to be\"}\n".repeat(100));
    place.write("utf16.txt", "to be, or not".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>());
    place.write("image.txt", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR");
    place.write("range.bin", [[7, 0].repeat(500), [0x40, 0x01].to_vec(), [7, 0].repeat(500)].concat());
    place.write("heads.json", CONFIG);
    place.write("broken.toml", "preset = \"tiny\"\ndim = = 3\n");
    place.write("typo.toml", "preset = \"tiny\"\ndimm = 3\n");
    place.write("foreign.json", r#"{"hello": "world"}"#);
    place.write("none.safetensors", tokens(&[1, 2, 3]).replacing(b"tokens", b"tokans"));
    place.write("range.safetensors", tokens(&[1, 2, 320, 3]));
    let weights = place.read("run/model.safetensors");
    let config = place.read("run/config.json");
    for (dir, weights) in
        [("cut", &weights[..weights.len() / 2]), ("foreign", b"PK\x03\x04 this is no tensor file")]
    {
        place.write(&format!("{dir}/config.json"), &config);
        place.write(&format!("{dir}/model.safetensors"), weights);
        // A checkpoint of another program, or one that was cut.
        place.write(&format!("{dir}/checkpoints/step-00000002.safetensors"), weights);
    }
    place.write("bare/config.json", &config);
    // A model without a tokenizer.
    place.write("mute/config.json", &config);
    place.write("mute/model.safetensors", &weights);
    place
}

trait Replacing {
    fn replacing(self, from: &[u8], to: &[u8]) -> Self;
}

impl Replacing for Vec<u8> {
    fn replacing(mut self, from: &[u8], to: &[u8]) -> Self {
        let at = self.windows(from.len()).position(|window| window == from).expect("it is there");
        self[at..at + to.len()].copy_from_slice(to);
        self
    }
}

#[test]
fn bad_input_is_named_with_its_remedy_and_changes_nothing() {
    let place = prepared();
    let mut rows: Vec<Row<'_>> = vec![
        ("train --model tiny --out new --data missing.txt", &["missing.txt"], "Check"),
        ("train --model tiny --out new --data empty.txt", &["empty.txt", "empty"], "text in it"),
        #[cfg(unix)]
        ("train --model tiny --out new --data /dev/zero", &["/dev/zero", "device"], "into a file"),
        ("train --model tiny --out new --data short.txt", &["short.txt", "33"], "--seq"),
        ("train --model tiny --out new --data latin1.txt", &["latin1.txt", "byte 3"], "UTF-8"),
        ("train --model tiny --out new --data novels", &["novels"], ".txt"),
        ("train --model tiny --out new --data odd.bin", &["odd.bin", "1001"], "16-bit"),
        (
            "train --model tiny --out new --data range.bin",
            &["range.bin", "token 500 is 320", "319"],
            "vocabulary",
        ),
        ("train --model tiny --out new --data wide.bin", &["wide.bin", "16-bit", "32-bit"], ".npy"),
        (
            "train --model tiny --out new --data records.jsonl",
            &["lines of JSON need a model with a tokenizer"],
            "--tokenizer",
        ),
        ("train --model tiny --out new --data utf16.txt", &["utf16.txt", "UTF-16"], "UTF-8"),
        ("train --model tiny --out new --data image.txt", &["image.txt", "byte 8"], "UTF-8"),
        ("train --model tyni --out new", &["tyni"], "shakespeare"),
        ("train --model heads.json --out new", &["heads.json", "num_key_value_heads", "3"], ""),
        ("train --model broken.toml --out new", &["broken.toml", "line 2"], "Correct"),
        ("train --model typo.toml --out new", &["typo.toml", "dimm"], "Correct"),
        (
            "train --model tiny --data text.txt --tokenizer foreign.json --out new",
            &["foreign.json"],
            "tokenizer.json",
        ),
        ("train --model cut --data text.txt --out new", &["cut/model.safetensors"], "again"),
        ("train --model tiny --data text.txt --out run", &["run"], "--resume"),
        ("train --resume --out cut", &["cut/checkpoints/step-00000002.safetensors"], "again"),
        ("train --resume --out foreign", &["foreign/checkpoints/step-00000002.safetensors"], "again"),
        ("train --resume --out nothing", &["nothing"], ""),
        ("train --resume --out bare", &["bare"], "--resume"),
        ("train --resume --out run --model shakespeare", &["run/config.json", "dim"], "Resume"),
        ("train --model tiny --data text.txt --out text.txt", &["text.txt"], "--out"),
        ("train --model tiny --data text.txt --out text.txt/run", &["text.txt/run"], "--out"),
        ("train --model layer768 --data text.txt --out new", &["--data"], ""),
        ("generate --model cut --prompt x", &["cut/model.safetensors"], "again"),
        ("generate --model foreign --prompt x", &["foreign/model.safetensors"], "again"),
        ("generate --model bare --prompt x", &["bare/model.safetensors"], "Check"),
        ("generate --model mute --prompt x", &["mute"], "tokenizer.json"),
        ("generate --model missing --prompt x", &["missing"], "Check"),
        ("eval --model run --data missing.txt", &["missing.txt"], "Check"),
        ("eval --model run --data range.bin", &["range.bin", "token 500 is 320"], "vocabulary"),
        (
            "eval --model run --data broken.jsonl",
            &["broken.jsonl", "line 2", "has `txt`", "`text`"],
            "--text-key",
        ),
        ("eval --model run --data wide.bin", &["wide.bin", "32-bit"], ".npy"),
        ("eval --model mute --data text.txt", &["mute"], "tokenizer.json"),
        (
            "grads --model run --tokens none.safetensors --out g.safetensors",
            &["none.safetensors", "tokens"],
            "",
        ),
        (
            "grads --model run --tokens range.safetensors --out g.safetensors",
            &["range.safetensors", "320"],
            "vocabulary",
        ),
        ("grads --model run --tokens text.txt --out g.safetensors", &["text.txt"], "again"),
        ("kernels --model heads.json", &["heads.json", "num_key_value_heads"], ""),
        ("kernels --model tiny --emit run", &["run"], "--emit"),
        ("kernels --model tiny --emit text.txt", &["text.txt"], "Check"),
        ("kernels --model tiny --emit text.txt/k", &["text.txt/k"], ""),
    ];
    if cfg!(target_os = "linux") {
        // Nobody makes folders there, not even root.
        rows.push(("train --model tiny --data text.txt --out /proc/run", &["/proc/run"], ""));
    }
    each_is_refused(&place, &rows, |_, _| None);
}

/// Arguments; what the error must name; what the hint must say.
pub type Row<'r> = (&'r str, &'r [&'r str], &'r str);

/// Runs every row, and fails with all that is wrong: exit code, error, hint, files that have changed, and what `also`
/// finds in an outcome.
pub fn each_is_refused(place: &Place, rows: &[Row<'_>], also: impl Fn(&str, &Outcome) -> Option<String>) {
    let before = place.snapshot();
    let mut wrong = Vec::new();
    for &(args, named, hint) in rows {
        let outcome = place.run(args);
        let stderr = &outcome.stderr;
        let error = stderr.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
        let remedy = stderr.lines().find(|line| line.starts_with("hint: ")).unwrap_or_default();
        let after = place.snapshot();
        let mut problems = Vec::new();
        if outcome.code != Some(2) {
            problems.push(format!("exit code {:?}", outcome.code));
        }
        problems.extend(named.iter().filter(|n| !error.contains(**n)).map(|n| format!("`{n}` is not named")));
        if remedy.is_empty() || !remedy.contains(hint) {
            problems.push(format!("the hint lacks `{hint}`"));
        }
        problems.extend(also(args, &outcome));
        if before != after {
            let changed =
                after.iter().filter(|(path, bytes)| before.get(*path) != Some(bytes)).map(|(path, _)| path);
            problems.push(format!("files have changed: {:?}", changed.collect::<Vec<_>>()));
        }
        if !problems.is_empty() {
            wrong.push(format!("{args}\n{stderr}  → {}", problems.join(", ")));
        }
        for path in after.keys().filter(|path| !before.contains_key(*path)) {
            std::fs::remove_file(path).expect("a new file");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// A result that cannot be written is a failure, not a success without a result.
#[cfg(target_os = "linux")]
#[test]
fn a_full_stdout_is_a_failure() {
    let place = Place::new();
    let output = std::process::Command::new(crate::place::binary())
        .args(["kernels", "--model", "tiny"])
        .current_dir(place.path(""))
        .stdout(std::fs::File::options().write(true).open("/dev/full").expect("a device"))
        .stderr(std::process::Stdio::piped())
        .output()
        .expect("the binary starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.starts_with("error: cannot write the result: "), "{stderr}");
}

#[cfg(unix)]
#[test]
fn a_model_from_a_pipe_is_refused_as_what_it_is() {
    let place = Place::new();
    for args in [
        "bench step --model /dev/stdin --samples 1",
        "train --model /dev/stdin --steps 1",
        "generate --model /dev/stdin --prompt x",
        "eval --model /dev/stdin --data text.txt",
        "kernels --model /dev/stdin",
    ] {
        let outcome = Outcome::of(place.command(args).write_stdin("dim = 64"));
        assert_eq!(outcome.code, Some(2), "{args}: {}", outcome.stderr);
        let want = "error: `/dev/stdin` is a device or a pipe, not a file\nhint: Write its content into a file, and name that.\n";
        assert!(outcome.stderr.ends_with(want), "{args}: {}", outcome.stderr);
    }
}
