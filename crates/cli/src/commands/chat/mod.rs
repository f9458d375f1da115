//! `backpropane chat`.

mod input;

use super::engine::{ModelArgs, positive};
use super::generate::Stream;
use super::model::NamedModel;
use super::sampling::SamplingArgs;
use crate::error::CommandError;
use crate::interrupt::Interrupt;
use crate::ui::Ui;
use crate::units;
use input::{Input, Typed};
use serde_json::json;
use std::path::{Path, PathBuf};
use train::fs::write_atomically;
use train::generate::{Chat, Context, Finish, GenerateOptions};

/// Talk to a model
///
/// Each line is a message, the answer is streamed. A line that ends with `\` goes on in the next one; so do all lines between two
/// lines of `"""`. Ctrl-C ends an answer, Ctrl-D the chat. Without a terminal, every line of stdin is a message, and answers alone are
/// printed. Lines that begin with `/` are commands; `/help` lists them.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backpropane chat --model SmolLM2-135M-Instruct.gguf
  backpropane chat --model SmolLM2-135M-Instruct.gguf --adapter runs/smol
  backpropane chat --model SmolLM2-135M-Instruct.gguf --system \"Answer in one sentence.\" --temperature 0
  echo \"What is the capital of France?\" | backpropane chat --model SmolLM2-135M-Instruct.gguf")]
pub struct ChatArgs {
    #[command(flatten)]
    model: NamedModel,

    /// A tokenizer.json, or llama2.c's tokenizer.bin [default: the one beside the weights]
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,

    /// A chat template, in Jinja [default: the model's own]
    #[arg(long, value_name = "FILE")]
    chat_template: Option<PathBuf>,

    /// What the model is told before the first message
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,

    /// Tokens of an answer at most [default: as the model's window has]
    #[arg(long, value_name = "N", value_parser = positive::<usize>)]
    tokens: Option<usize>,

    #[command(flatten)]
    sampling: SamplingArgs,

    #[command(flatten)]
    on: ModelArgs,
}

/// What `/help` prints.
const HELP: &str = "\
/system TEXT  tell the model something before the first message; without a text, nothing
/reset        forget all messages
/save FILE    write the chat as a line of JSON, as `train --data` reads it
/help         this
/exit         end; so does Ctrl-D
A line that ends with \\ goes on in the next one; so do all lines between two lines of \"\"\".
Ctrl-C ends an answer.";

pub fn run(ui: &Ui, args: &ChatArgs) -> Result<(), CommandError> {
    let interrupt = Interrupt::watch(ui, false, "")?;
    let writer = args.model.open(ui, args.tokenizer.as_deref(), args.on, "", Context::All)?;
    let options = args.sampling.options(args.tokens.unwrap_or(writer.window));
    let mut chat = Chat::new(writer, args.chat_template.as_deref())?;
    chat.set_system(args.system.clone());
    let mut input = Input::stdin()?;
    if input.is_terminal() {
        ui.aside("/help lists commands, Ctrl-D ends");
    }
    let mut talk = Talk { ui, chat, options, interrupt };
    loop {
        match input.next()? {
            Typed::End => return Ok(()),
            Typed::Interrupt => ui.aside("Ctrl-D or /exit ends the chat"),
            Typed::Text(text) if text.trim().is_empty() => {}
            Typed::Text(text) => match talk.take(&text) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                // On a terminal a mistake is no reason to end.
                Err(error) if input.is_terminal() && error.is_failure() => ui.error(&error),
                Err(error) => return Err(error),
            },
        }
    }
}

/// A chat on the terminal.
struct Talk<'a> {
    ui: &'a Ui,
    chat: Chat,
    options: GenerateOptions,
    interrupt: Interrupt,
}

impl Talk<'_> {
    /// Obeys a command, or sends a message; returns whether the chat goes on.
    fn take(&mut self, text: &str) -> Result<bool, CommandError> {
        let Some(command) = text.strip_prefix('/') else { return self.send(text) };
        let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        let rest = rest.trim();
        match name {
            "exit" | "quit" => return Ok(false),
            "help" => self.ui.say(HELP),
            "reset" => self.chat.reset(),
            "system" => self.chat.set_system((!rest.is_empty()).then(|| rest.to_owned())),
            "save" if rest.is_empty() => {
                return Err(CommandError::input("`/save` needs a file", "Name it: `/save chat.jsonl`."));
            }
            "save" => self.save(Path::new(rest))?,
            _ => {
                return Err(CommandError::input(
                    format!("there is no command `/{name}`"),
                    "`/help` lists them; begin a message with a space if it has a slash in front.",
                ));
            }
        }
        Ok(true)
    }

    fn send(&mut self, text: &str) -> Result<bool, CommandError> {
        let mut stream = Stream::stdout(self.ui);
        self.interrupt.guard();
        let interrupt = &self.interrupt;
        let answer =
            self.chat.answer(text, &self.options, &mut |piece| stream.write(piece) && !interrupt.asked());
        let was_interrupted = self.interrupt.release();
        stream.end()?;
        let answer = answer?;
        let done = &answer.completion;
        let (count, speed) = (units::plural(done.tokens.len(), "token"), units::count(done.speed()));
        let end = match done.finish {
            _ if was_interrupted => ", interrupted",
            Finish::Length => ", cut by `--tokens`",
            Finish::Window => ", the model's window is full",
            _ => "",
        };
        self.ui.aside(format!("{count} at {speed}/s{end}"));
        if answer.forgotten > 0 {
            let messages = units::plural(answer.forgotten, "message");
            self.ui.say(format!("the model's window is full: its oldest {messages} are forgotten"));
        }
        // Further answers are other draws.
        let seed = &mut self.options.sampling.seed;
        *seed = seed.wrapping_add(1);
        Ok(true)
    }

    /// Writes the chat as a line of JSON.
    fn save(&self, path: &Path) -> Result<(), CommandError> {
        let line = format!("{}\n", json!({"messages": self.chat.messages()}));
        write_atomically(path, line.as_bytes())?;
        self.ui.say(format!("saved to `{}`", path.display()));
        Ok(())
    }
}
