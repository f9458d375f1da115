//! `backpropane generate`.

use super::engine::{ModelArgs, positive};
use super::model::NamedModel;
use super::sampling::SamplingArgs;
use crate::error::CommandError;
use crate::output::print_json;
use crate::ui::Ui;
use crate::units;
use serde::Serialize;
use std::borrow::Cow;
use std::io::{self, IsTerminal, Read, StdoutLock, Write};
use std::path::{Path, PathBuf};
use train::error::TrainError;
use train::generate::{Completion, Context, Finish};

/// Continue a text with a trained model
///
/// The prompt and its continuation are streamed to stdout, whole characters at a time. The text ends at a token that ends texts, before a
/// `--stop` string, after `--tokens` tokens, or with the model's window.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backpropane generate --model runs/shakespeare --prompt \"Romeo.\"
  backpropane generate --model runs/shakespeare --prompt \"To be\" --tokens 50 --temperature 0
  backpropane generate --model runs/stories --prompt \"Once upon a time\" --seed 7 > story.txt
  backpropane generate --model stories15M.bin --tokenizer tokenizer.bin --prompt \"Once\"
  backpropane generate --model SmolLM2-135M.gguf --prompt-file question.txt --stop \"\\n\\n\" --min-p 0.1
  backpropane generate --model SmolLM2-135M.gguf --prompt - --n 3 --json < question.txt")]
pub struct GenerateArgs {
    #[command(flatten)]
    model: NamedModel,

    /// A tokenizer.json, or llama2.c's tokenizer.bin [default: the one beside the weights]
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,

    /// The text to continue; may be empty; `-` reads it from stdin
    #[arg(
        long,
        value_name = "TEXT",
        required_unless_present = "prompt_file",
        conflicts_with = "prompt_file"
    )]
    prompt: Option<String>,

    /// Read the text to continue from a file
    #[arg(long, value_name = "FILE")]
    prompt_file: Option<PathBuf>,

    /// Tokens to generate [default: 200, or fewer where the model's window ends]
    #[arg(long, value_name = "N", value_parser = positive::<usize>)]
    tokens: Option<usize>,

    /// Forget the older half of the tokens when the model's window is full, and go on
    #[arg(long)]
    slide: bool,

    /// Texts to generate; each has the seed after that of the one before
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = positive::<usize>)]
    n: usize,

    #[command(flatten)]
    sampling: SamplingArgs,

    /// Print one JSON object: prompt_tokens, and for each text its seed, text, ids, logprobs, finish and times
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    on: ModelArgs,
}

pub fn run(ui: &Ui, args: &GenerateArgs) -> Result<(), CommandError> {
    let prompt = prompt(args)?;
    let context = Context::Prompt { tokens: args.tokens, slides: args.slide };
    let mut writer = args.model.open(ui, args.tokenizer.as_deref(), args.on, &prompt, context)?;
    let mut options = args.sampling.options(writer.tokens);
    let mut texts = Vec::new();
    for i in 0..args.n {
        if i > 0 {
            options.sampling.seed = options.sampling.seed.wrapping_add(1);
        }
        let seed = options.sampling.seed;
        if args.json {
            let done = writer.generate(&options, &mut |_| true)?;
            texts.push(Text::new(seed, &done));
            continue;
        }
        let mut stream = Stream::stdout(ui);
        if i > 0 {
            stream.write("\n");
        }
        stream.write(&prompt);
        let done = writer.generate(&options, &mut |piece| stream.write(piece))?;
        stream.end()?;
        let (count, speed) = (units::plural(done.tokens.len(), "token"), units::count(done.speed()));
        ui.aside(format!("{count} at {speed}/s, --seed {seed}"));
        if done.finish == Finish::Window
            || args.tokens.is_none() && done.tokens.len() == writer.tokens && writer.tokens < 200
        {
            ui.aside("the model's window ends here; --slide goes on".to_owned());
        }
    }
    match args.json {
        true => print_json(ui, &Texts { prompt_tokens: writer.prompt.len(), texts }),
        false => Ok(()),
    }
}

/// The prompt, from the flag, a file, or stdin.
fn prompt(args: &GenerateArgs) -> Result<String, CommandError> {
    let unread = |path: &Path, source| {
        CommandError::from(TrainError::Io { doing: "read", path: path.to_owned(), source })
    };
    match (&args.prompt, &args.prompt_file) {
        (Some(dash), _) if dash == "-" => {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text).map_err(|e| unread(Path::new("stdin"), e))?;
            Ok(text)
        }
        (Some(text), _) => Ok(text.clone()),
        (None, Some(path)) => std::fs::read_to_string(path).map_err(|e| unread(path, e)),
        (None, None) => Ok(String::new()),
    }
}

/// The result of `--json`.
#[derive(Serialize)]
struct Texts {
    prompt_tokens: usize,
    texts: Vec<Text>,
}

#[derive(Serialize)]
struct Text {
    seed: u64,
    text: String,
    ids: Vec<u32>,
    logprobs: Vec<f64>,
    /// `stop` or `length`.
    finish: &'static str,
    /// The token that ended the text, if one did.
    end_id: Option<u32>,
    seconds_to_first: f64,
    tokens_per_second: f64,
}

impl Text {
    fn new(seed: u64, done: &Completion) -> Text {
        Text {
            seed,
            text: done.text.clone(),
            ids: done.tokens.iter().map(|t| t.token).collect(),
            logprobs: done.tokens.iter().map(|t| t.logprob).collect(),
            finish: done.finish.reason(),
            end_id: if let Finish::End(id) = done.finish { Some(id) } else { None },
            seconds_to_first: done.first.as_secs_f64(),
            tokens_per_second: done.speed(),
        }
    }
}

/// Streams text to an output until the reader closes it.
///
/// On a terminal, control characters other than newline and tab are replaced.
pub struct Stream<W: Write> {
    out: W,
    terminal: bool,
    failure: Option<io::Error>,
    at_line_start: bool,
}

impl Stream<StdoutLock<'static>> {
    /// A stream to stdout.
    pub fn stdout(ui: &Ui) -> Self {
        Stream::new(ui.out(), io::stdout().is_terminal())
    }
}

impl<W: Write> Stream<W> {
    fn new(out: W, terminal: bool) -> Stream<W> {
        Stream { out, terminal, failure: None, at_line_start: true }
    }

    /// Writes `piece`; returns `false` if the reader has closed the output.
    pub fn write(&mut self, piece: &str) -> bool {
        if self.failure.is_none() && !piece.is_empty() {
            self.at_line_start = piece.ends_with('\n');
            let control = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
            let shown = match self.terminal && piece.contains(control) {
                true => Cow::Owned(piece.replace(control, "\u{fffd}")),
                false => Cow::Borrowed(piece),
            };
            self.failure = self.out.write_all(shown.as_bytes()).and_then(|()| self.out.flush()).err();
        }
        self.failure.is_none()
    }

    /// Ends the last line.
    pub fn end(mut self) -> Result<(), CommandError> {
        if !self.at_line_start {
            self.write("\n");
        }
        match self.failure {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_does_not_steer_the_terminal() {
        let mut text = Vec::new();
        let mut stream = Stream::new(&mut text, true);
        assert!(stream.write("\x1b[2J\ta\n"));
        stream.end().unwrap();
        assert_eq!(text, "\u{fffd}[2J\ta\n".as_bytes());
    }

    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stream_ends_its_last_line_and_stops_when_nobody_reads() {
        let mut text = Vec::new();
        let mut stream = Stream::new(&mut text, false);
        assert!(stream.write("a\n") && stream.write("\x1bb"));
        stream.end().unwrap();
        assert_eq!(text, b"a\n\x1bb\n");

        let mut stream = Stream::new(Closed, false);
        assert!(!stream.write("a"));
        assert!(stream.end().is_err_and(|e| !e.is_failure()));
    }
}
