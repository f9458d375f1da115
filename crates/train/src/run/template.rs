//! The chat template of a run on examples.

use super::options::TemplateChoice;
use crate::chat::{CHATML, Template};
use crate::error::TrainError;
use crate::formats::FolderMetadata;
use crate::tokenizer::Tokenizer;

/// The marks of ChatML.
const CHATML_MARKS: [&str; 2] = ["<|im_start|>", "<|im_end|>"];

/// A template for the examples of a run.
#[derive(Debug)]
pub(crate) struct ChosenTemplate {
    pub(crate) template: Template,
    /// Whether it is not the model's own, so that the run's folder has to store it.
    pub(crate) is_other: bool,
    /// Whether nobody chose it: the model has none, and its tokenizer has the marks of ChatML.
    pub(crate) is_assumed: bool,
}

impl ChosenTemplate {
    /// The template that the user chose, else the model's, else ChatML if the tokenizer has its marks.
    ///
    /// # Errors
    /// If it cannot be read or parsed.
    pub(crate) fn find(
        choice: &TemplateChoice,
        metadata: &FolderMetadata,
        tokenizer: &Tokenizer,
    ) -> Result<Option<Self>, TrainError> {
        let of = Some(tokenizer);
        let (template, is_assumed) = match choice {
            TemplateChoice::None => return Ok(None),
            TemplateChoice::File(path) => (Template::read(path, metadata, of)?, false),
            TemplateChoice::ChatMl => (Template::parse(CHATML, metadata, of)?, false),
            TemplateChoice::Model => {
                if let Some(template) = Template::of(metadata, of)? {
                    return Ok(Some(Self { template, is_other: false, is_assumed: false }));
                }
                let is_token = |mark| matches!(tokenizer.encode_rendered(mark).as_deref(), Ok([_]));
                if !CHATML_MARKS.into_iter().all(is_token) {
                    return Ok(None);
                }
                (Template::parse(CHATML, metadata, of)?, true)
            }
        };
        Ok(Some(Self { template, is_other: true, is_assumed }))
    }
}
