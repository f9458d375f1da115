//! Training on examples: chats, prompts with completions, texts.

use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use train::data::{Keys, LossOn};
use train::run::{ExampleOptions, Notice, Options, Overrides, Packing, Run, RunError, TemplateChoice};
use train::tokenizer::Tokenizer;

/// A folder with a small model, whose tokenizer has the marks of ChatML.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(tempfile::tempdir().expect("a folder"));
        let config = json!({
            "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 32, "intermediate_size": 64,
            "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": 320,
            "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
            "tie_word_embeddings": true
        });
        let model = place.path("model");
        fs::create_dir(&model).expect("created");
        place.write("model/config.json", &config.to_string());
        let text = "the cat and the dog and the bird sat on the mat ".repeat(20);
        let tokenizer = Tokenizer::train(std::iter::once(Ok(text)), 300).expect("trained");
        let path = tokenizer.save_to_folder(&model).expect("saved");
        let mut json: Value = serde_json::from_slice(&fs::read(&path).expect("read")).expect("JSON");
        let first = tokenizer.vocab_size();
        for (i, mark) in ["<|im_start|>", "<|im_end|>"].into_iter().enumerate() {
            let token = json!({
                "id": first + i, "content": mark, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true
            });
            json["added_tokens"].as_array_mut().expect("a list").push(token);
        }
        fs::write(path, json.to_string()).expect("written");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.path(name), text).expect("written");
        self.path(name)
    }

    fn options(&self, data: &Path, out: &str) -> Options {
        Options {
            model: Some(self.path("model").display().to_string()),
            data: Some(data.to_owned()),
            examples: ExampleOptions::default(),
            tokenizer: None,
            out: self.path(out),
            resume: false,
            overrides: Overrides {
                pack: Some(Packing::Off),
                seq: Some(48),
                batch: Some(2),
                val_every: Some(0),
                warmup: Some(0),
                lr: Some(1e-2),
                ..Overrides::default()
            },
            threads: 1,
            device: ane::DeviceKind::Soft.into(),
        }
    }
}

fn open(options: &Options) -> Result<Run, Box<RunError>> {
    Run::open(options, &mut |_| {}).map_err(Box::new)
}

fn chat(question: &str, answer: &str) -> String {
    let messages = json!([{"role": "user", "content": question}, {"role": "assistant", "content": answer}]);
    json!({"messages": messages}).to_string()
}

/// Twenty chats whose answer follows from the question.
fn chats() -> String {
    let animals = ["cat", "dog", "bird", "mat"];
    (0..20).map(|i| chat(animals[i % 4], &format!("the {} sat", animals[i % 4])) + "\r\n\n").collect()
}

#[test]
fn answers_are_learned_and_questions_are_not() {
    let place = Place::new();
    let data = place.write("chats.jsonl", &chats());
    let mut options = place.options(&data, "run");
    options.overrides.steps = Some(40);
    let mut warnings = Vec::new();
    let mut run = Run::open(&options, &mut |notice| {
        if let Notice::Warning(text) = notice {
            warnings.push(text.to_owned());
        }
    })
    .expect("opens");
    assert_eq!(warnings, ["the model has no chat template: chats are written as ChatML"]);
    let counts = run.examples().expect("examples");
    assert_eq!((counts.train, counts.valid, counts.cut, counts.dropped), (19, 1, 0, 0));
    let before = run.validate(8).expect("finite").loss;
    for _ in 0..40 {
        run.step().expect("a step");
    }
    let after = run.validate(8).expect("finite").loss;
    assert!(after < 0.3 * before, "{after}, {before} before");
    run.save_last().expect("saved");
    // The template that the chats were written with is the model's from now on.
    let template = fs::read_to_string(place.path("run/chat_template.jinja")).expect("a template");
    assert!(template.contains("<|im_start|>"));
    // What follows is a chat: the prompt of a sample ends where an answer begins.
    assert!(run.is_chat().expect("read"));
    let prompt = run.example_prompt().expect("read").expect("a prompt");
    let text = run.generator().expect("a tokenizer").text(&prompt);
    assert!(text.trim_end().ends_with("assistant"), "{text}");

    let all = Options {
        out: place.path("all"),
        overrides: Overrides { loss_on: Some(LossOn::All), ..options.overrides.clone() },
        ..options
    };
    let all = open(&all).expect("opens").examples().expect("examples");
    assert!(all.targets > 2 * counts.targets, "{} of all, {} of answers", all.targets, counts.targets);
}

/// What each step of a run lost, and the weights at its end.
fn losses(run: &mut Run, steps: usize) -> Vec<u64> {
    (0..steps).map(|_| run.step().expect("a step").loss.to_bits()).collect()
}

#[test]
fn a_resumed_run_takes_the_same_examples() {
    let place = Place::new();
    let data = place.write("train.jsonl", &chats());
    place.write("valid.jsonl", &chat("dog", "the dog sat"));
    let mut options = place.options(&data, "whole");
    options.overrides.epochs = Some(2.0);
    let mut whole = open(&options).expect("opens");
    // 20 examples, 2 windows a step, 2 epochs.
    assert_eq!(whole.settings().steps, 20);
    assert_eq!(whole.examples().map(|counts| (counts.train, counts.valid)), Some((20, 1)));
    let want = losses(&mut whole, 20);
    drop(whole);

    let mut cut = open(&Options { out: place.path("cut"), ..options.clone() }).expect("opens");
    let mut got = losses(&mut cut, 7);
    cut.save_last().expect("saved");
    drop(cut);
    // Without the data: the folder has the tokens and the list of examples.
    let resumed =
        Options { data: None, model: None, resume: true, overrides: Overrides::default(), ..options };
    let resumed = Options { out: place.path("cut"), ..resumed };
    let mut run = open(&resumed).expect("resumes");
    got.extend(losses(&mut run, 13));
    assert_eq!(got, want);
    run.save_last().expect("saved");
    drop(run);

    // The same data again are accepted, others are not.
    assert!(open(&Options { data: Some(place.path("train.jsonl")), ..resumed.clone() }).is_ok());
    let other = place.write("other.jsonl", &chats().replace("bird", "cat"));
    let error = open(&Options { data: Some(other), ..resumed.clone() }).unwrap_err();
    assert!(matches!(*error, RunError::OtherData { .. }), "{error}");

    let packed = Overrides { pack: Some(Packing::On), ..Overrides::default() };
    let error = open(&Options { overrides: packed, ..resumed.clone() }).unwrap_err().to_string();
    assert!(error.contains("`--pack` of a resumed run is `on`, and the run began with `off`"), "{error}");

    let list = place.path("cut/examples.bin");
    let mut bytes = fs::read(&list).expect("read");
    *bytes.last_mut().expect("bytes") ^= 1;
    fs::write(&list, bytes).expect("written");
    let error = open(&resumed).unwrap_err().to_string();
    assert!(error.contains("examples.bin") && error.contains("checksum"), "{error}");
}

/// A template that tells the time tells that of the run's beginning for ever.
#[test]
fn a_resumed_run_has_the_time_of_its_first_examples() {
    let place = Place::new();
    let data = place.write("chats.jsonl", &chats());
    let template =
        "{{ strftime_now('%j %T') }}{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}";
    let mut options = place.options(&data, "run");
    options.overrides.steps = Some(2);
    options.examples.template = TemplateChoice::File(place.write("template.jinja", template));
    let mut run = open(&options).expect("opens");
    run.step().expect("a step");
    run.save_last().expect("saved");
    drop(run);
    let tokens = fs::read(place.path("run/tokens.bin")).expect("tokens");
    // In another second.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let resumed = Options { resume: true, model: None, overrides: Overrides::default(), ..options.clone() };
    open(&resumed).expect("the same examples");
    assert!(fs::read(place.path("run/tokens.bin")).expect("tokens") == tokens);
    open(&Options { out: place.path("new"), ..options }).expect("opens");
    assert!(fs::read(place.path("new/tokens.bin")).expect("tokens") != tokens);
}

#[test]
fn prompts_and_texts_are_examples_too_and_lost_ones_are_counted() {
    let place = Place::new();
    let long = "the cat sat on the mat ".repeat(30);
    let lines = [
        json!({"prompt": "the cat", "completion": " sat"}),
        json!({"prompt": "the dog", "completion": ""}),
        json!({"prompt": long, "completion": " sat"}),
        json!({"text": long}),
        json!({"text": ""}),
        json!({"text": "the mat"}),
    ];
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let data = place.write("mixed.jsonl", &text);
    let mut options = place.options(&data, "run");
    options.examples.template = TemplateChoice::None;
    let run = open(&options).expect("opens");
    let counts = run.examples().expect("examples");
    assert_eq!((counts.empty, counts.dropped, counts.train + counts.valid), (2, 1, 3), "{counts:?}");
    assert_eq!(counts.cut, 1);
    // Three passes by default.
    assert_eq!(run.settings().steps, (3 * counts.windows as u64).div_ceil(2));
}

#[test]
fn a_bad_line_is_named() {
    let place = Place::new();
    for (line, keys, want) in [
        ("{\"text\": 1}", Keys::default(), "bad.jsonl`, line 3: `text` is a number, not a string"),
        ("{\"txt\": \"a\"}", Keys::default(), "line 3: it has `txt`; expected are `messages`"),
        ("{\"text\"", Keys::default(), "line 3: it is no JSON"),
        ("{\"body\": \"a\"}", Keys { text: "body".to_owned(), ..Keys::default() }, "line 1: it has `text`"),
    ] {
        let data = place.write("bad.jsonl", &format!("{{\"text\": \"a\"}}\n\n{line}\n"));
        let mut options = place.options(&data, "run");
        options.examples.keys = keys;
        let error = open(&options).unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
        assert!(!place.path("run/config.json").exists());
    }
    let data = place.write("chat.jsonl", &chat("a", "b"));
    let mut options = place.options(&data, "run");
    options.examples.template = TemplateChoice::None;
    let error = open(&options).unwrap_err();
    assert!(error.to_string().contains("chat.jsonl`, line 1 is a chat"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("--chat-template")));
}

/// Examples that share a window do not see one another: the step is the same as with a window each.
#[test]
fn packed_examples_are_as_if_alone() {
    let place = Place::new();
    let data = place
        .write("chats.jsonl", &chats().lines().take(6).map(|line| format!("{line}\n")).collect::<String>());
    let of = |name: &str, pack: Packing, windows: usize, adapts: Option<&str>| {
        let mut options = place.options(&data, name);
        if let Some(model) = adapts {
            options.model = Some(place.path(model).display().to_string());
            options.overrides.lora = Some(2);
        }
        options.examples.valid = Some(data.clone());
        options.overrides.pack = Some(pack);
        options.overrides.seq = Some(100);
        options.overrides.batch = Some(windows);
        // Exact enough to tell one masked score.
        options.overrides.storage = Some(train::model::Precision::F32);
        let mut run = open(&options).expect("opens");
        let windows = run.examples().expect("examples").windows;
        let first = run.step().expect("a step");
        let second = run.step().expect("a step");
        run.save_last().expect("saved");
        (windows, [first.loss, first.grad_norm, second.loss], run.validate(9).expect("finite").loss)
    };
    for [alone, packed, adapts] in [["alone", "packed", ""], ["adapters", "packed adapters", "alone"]] {
        let adapts = Some(adapts).filter(|model| !model.is_empty());
        let (windows, each, validation) = of(alone, Packing::Off, 3, adapts);
        assert_eq!(windows, 3);
        let (windows, together, packed_validation) = of(packed, Packing::On, 1, adapts);
        assert_eq!(windows, 1, "all of them fit into one window");
        for (got, want) in together.into_iter().zip(each).chain([(packed_validation, validation)]) {
            // Sums of other sizes in f32.
            assert!((got - want).abs() < 1e-4 * want, "{packed}: {together:?}, not {each:?}");
        }
    }
}

/// The loss of a step is the mean over all targets of its windows, however they are divided into windows.
#[test]
fn targets_weigh_the_same_in_all_windows() {
    let place = Place::new();
    let short = json!({"prompt": "the", "completion": " cat"});
    let long =
        json!({"prompt": "the", "completion": " dog and the bird sat on the mat and the cat sat on the dog"});
    let line = |one: &Value| format!("{one}\n");
    let loss = |name: &str, lines: &str, windows: usize| {
        let data = place.write(&format!("{name}.jsonl"), lines);
        let mut options = place.options(&data, name);
        options.examples.template = TemplateChoice::None;
        options.examples.valid = Some(data.clone());
        options.overrides.batch = Some(windows);
        let mut run = open(&options).expect("opens");
        let targets = run.examples().expect("examples").targets as f64;
        (run.step().expect("a step").loss, targets)
    };
    let (first, a) = loss("short", &line(&short), 1);
    let (second, b) = loss("long", &line(&long), 1);
    let (both, count) = loss("both", &(line(&short) + &line(&long)), 2);
    assert_eq!(count, a + b);
    let want = (a * first + b * second) / (a + b);
    // Nats; logits of other windows' neighbours in fp16 are the same, sums in f64 are not.
    assert!((both - want).abs() < 1e-6, "{both}, not {want}");
    assert!((both - (first + second) / 2.0).abs() > 1e-3, "a mean of means would pass");
}
