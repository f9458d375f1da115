//! `backpropane generate`.

use super::engine::{ModelArgs, not_negative, positive, share};
use crate::error::CommandError;
use crate::ladder::Ladder;
use crate::output::model_help;
use crate::ui::Ui;
use crate::units;
use std::borrow::Cow;
use std::io::{self, IsTerminal, StdoutLock, Write};
use std::path::PathBuf;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use train::generate::{self, GenerateOptions, OpenOptions};

/// Continue a text with a trained model
///
/// The prompt and its continuation are streamed to stdout.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backpropane generate --model runs/shakespeare --prompt \"Romeo.\"
  backpropane generate --model runs/shakespeare --prompt \"To be\" --tokens 50 --temperature 0
  backpropane generate --model runs/stories --prompt \"Once upon a time\" --seed 7 > story.txt
  backpropane generate --model stories15M.bin --tokenizer tokenizer.bin --prompt \"Once\"")]
pub struct GenerateArgs {
    #[arg(long, value_name = "DIR|FILE",
        help = model_help("The folder of a run or model (config.json, model.safetensors and a tokenizer)"))]
    model: PathBuf,

    /// A tokenizer.json, or llama2.c's tokenizer.bin [default: the one beside the weights]
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,

    /// The text to continue; may be empty
    #[arg(long, value_name = "TEXT")]
    prompt: String,

    /// Tokens to generate
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = positive::<usize>)]
    tokens: usize,

    /// Sampling temperature: 0 always takes the likeliest token, 1 samples from the model's probabilities
    #[arg(long, value_name = "F", default_value_t = 0.8, value_parser = not_negative::<f64>)]
    temperature: f64,

    /// Sample from the fewest likeliest tokens whose probabilities reach this sum
    #[arg(long, value_name = "F", default_value_t = 0.95, value_parser = share)]
    top_p: f64,

    /// Seed of the sampling [default: another one each time]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    #[command(flatten)]
    on: ModelArgs,
}

pub fn run(ui: &Ui, args: &GenerateArgs) -> Result<(), CommandError> {
    let seed = args.seed.unwrap_or_else(from_clock);
    let ladder = Ladder::here();
    let on = OpenOptions {
        threads: args.on.engine.threads,
        device: args.on.device(),
        start: args.on.start(ladder.known()),
        storage: args.on.storage(),
        tokens: args.tokens,
    };
    let generator =
        generate::open(&args.model, args.tokenizer.as_deref(), &args.prompt, &on, &mut |event| {
            ladder.report(ui, event);
        })?;
    let options =
        GenerateOptions { tokens: args.tokens, temperature: args.temperature, top_p: args.top_p, seed };
    let began = Instant::now();
    let mut stream = Stream::stdout(ui);
    stream.write(&args.prompt);
    let count = generator.generate(&args.prompt, &options, &mut |piece| stream.write(piece))?;
    stream.end()?;
    let seconds = began.elapsed().as_secs_f64();
    let speed = count as f64 / seconds.max(1e-9);
    ui.aside(format!("{} at {}/s, --seed {seed}", units::plural(count, "token"), units::count(speed)));
    Ok(())
}

/// A seed from the clock, short enough to type.
fn from_clock() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_micros() as u64 % 1_000_000)
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
