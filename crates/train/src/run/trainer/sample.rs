//! What a sample of a run begins with.

use super::Run;
use crate::formats::FolderMetadata;
use crate::generate::{Generator, template_of};
use crate::run::RunError;
use crate::run::corpus::Corpus;

impl Run {
    /// A generator with the current weights; `None` if there is no tokenizer.
    pub fn generator(&self) -> Option<Generator<'_>> {
        self.parts.tokenizer.as_ref().map(|t| Generator::new(&self.parts.network, t, &self.parts.ends))
    }

    /// The tokens of the first example, one that validates if there is one, up to what counts in it: a prompt, or messages up to an
    /// answer. `None` if the data are no examples, or all of it counts.
    ///
    /// # Errors
    /// If the data cannot be read.
    pub fn example_prompt(&self) -> Result<Option<Vec<u32>>, RunError> {
        let Corpus::Examples { file, windows, .. } = &self.parts.corpus else { return Ok(None) };
        let window = match windows.valid_windows(1) {
            0 => windows.train(file, 0)?,
            taken => windows.valid(file, 0, taken)?,
        };
        Ok(window.prompt().map(<[u32]>::to_vec))
    }

    /// Whether the model is one to chat with: its data are prompts with answers, and it has a template for them.
    ///
    /// # Errors
    /// If data or metadata cannot be read.
    pub fn is_chat(&self) -> Result<bool, RunError> {
        let Some(tokenizer) = &self.parts.tokenizer else { return Ok(false) };
        if self.example_prompt()?.is_none() {
            return Ok(false);
        }
        let metadata = FolderMetadata::read(self.folder().dir())?;
        // The run may have had another template than one with a mistake.
        Ok(template_of(&metadata, tokenizer, None).is_ok_and(|template| template.is_some()))
    }
}
