//! The chat template of a run on examples.

use super::options::TemplateChoice;
use crate::chat::{CHATML, Template};
use crate::error::TrainError;
use crate::formats::FolderMetadata;
use crate::tokenizer::Tokenizer;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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
    /// The time that it tells, in seconds since 1970, if it is fixed.
    pub(crate) time: Option<u32>,
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
                    return Ok(Some(Self { template, is_other: false, is_assumed: false, time: None }));
                }
                let is_token = |mark| matches!(tokenizer.encode_rendered(mark).as_deref(), Ok([_]));
                if !CHATML_MARKS.into_iter().all(is_token) {
                    return Ok(None);
                }
                (Template::parse(CHATML, metadata, of)?, true)
            }
        };
        Ok(Some(Self { template, is_other: true, is_assumed, time: None }))
    }

    /// Fixes the time that the template tells, if it tells any: `known`, that of a resumed run, or now. Otherwise the examples of a
    /// run would differ by the day.
    pub(crate) fn at(mut self, known: Option<u32>) -> Self {
        if self.template.tells_time() {
            let since = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            let seconds = known.unwrap_or_else(|| u32::try_from(since()).unwrap_or(u32::MAX));
            self.template = self.template.at(UNIX_EPOCH + Duration::from_secs(seconds.into()));
            self.time = Some(seconds);
        }
        self
    }
}
