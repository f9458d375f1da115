//! A small model with tokens to train it on, and options of short runs.

use std::path::PathBuf;
use train::run::{Options, Overrides};

const MODEL: &str = "preset = \"tiny\"\ndim = 16\nhidden = 32\nlayers = 2\nheads = 2\nkv_heads = 1\nhead_dim = 8\n\
                     vocab = 64\nseq = 16\n";

/// A folder with the model and its tokens.
pub struct Place {
    dir: tempfile::TempDir,
    save_every: u64,
}

impl Place {
    /// With `tokens`, below 64 and of 16 bits each, and checkpoints after every `save_every` steps.
    pub fn new(tokens: &[u8], save_every: u64) -> Place {
        let place = Place { dir: tempfile::tempdir().expect("a folder"), save_every };
        std::fs::write(place.path("small.toml"), MODEL).expect("written");
        std::fs::write(place.path("d.bin"), tokens).expect("written");
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Options of a run of 12 steps.
    pub fn options(&self, out: &str) -> Options {
        Options {
            model: Some(self.path("small.toml").display().to_string()),
            data: Some(self.path("d.bin")),
            examples: Default::default(),
            tokenizer: None,
            out: self.path(out),
            resume: false,
            overrides: Overrides {
                steps: Some(12),
                batch: Some(2),
                warmup: Some(2),
                save_every: Some(self.save_every),
                ..Overrides::default()
            },
            threads: 1,
            device: ane::DeviceKind::Soft.into(),
        }
    }

    /// To go on with a run, without saying anything again.
    pub fn resumed(&self, out: &str) -> Options {
        let options = self.options(out);
        Options { model: None, data: None, resume: true, overrides: Overrides::default(), ..options }
    }
}
