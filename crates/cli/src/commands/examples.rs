//! The flags of lines of JSON.

use std::path::Path;
use train::data::Keys;
use train::run::{ExampleOptions, TemplateChoice};

/// How lines of JSON are read.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Lines of JSON")]
pub struct ExampleArgs {
    /// A file with a Jinja template for chats, and for prompts with completions; chatml; or none, to join prompts and
    /// completions as they are [default: the model's]
    #[arg(long, value_name = "FILE|chatml|none", value_parser = template)]
    chat_template: Option<TemplateChoice>,

    /// The key of a chat's messages [default: messages]
    #[arg(long, value_name = "KEY")]
    messages_key: Option<String>,

    /// The key of a prompt [default: prompt]
    #[arg(long, value_name = "KEY")]
    prompt_key: Option<String>,

    /// The key of a completion [default: completion]
    #[arg(long, value_name = "KEY")]
    completion_key: Option<String>,

    /// The key of a text [default: text]
    #[arg(long, value_name = "KEY")]
    text_key: Option<String>,
}

fn template(text: &str) -> Result<TemplateChoice, String> {
    Ok(match text {
        "none" => TemplateChoice::None,
        "chatml" => TemplateChoice::ChatMl,
        path => TemplateChoice::File(path.into()),
    })
}

impl ExampleArgs {
    /// The options of these flags.
    pub fn options(&self, valid: Option<&Path>) -> ExampleOptions {
        let usual = Keys::default();
        let or = |given: &Option<String>, usual: String| given.clone().unwrap_or(usual);
        ExampleOptions {
            keys: Keys {
                text: or(&self.text_key, usual.text),
                prompt: or(&self.prompt_key, usual.prompt),
                completion: or(&self.completion_key, usual.completion),
                messages: or(&self.messages_key, usual.messages),
            },
            template: self.chat_template.clone().unwrap_or_default(),
            valid: valid.map(Path::to_owned),
        }
    }
}
