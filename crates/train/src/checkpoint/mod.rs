//! Files of a run: weights, training state, and the folder that holds them.
//!
//! ```text
//! DIR/config.json  tokenizer.json  model.safetensors      the model, as other programs read it
//! DIR/checkpoints/step-00000200.safetensors               weights, optimizer state and position of one step
//! DIR/.lock                                               locked by the process that trains here
//! ```
//!
//! A checkpoint is one file, written atomically, so it is complete or does not exist. `model.safetensors` is a copy of the
//! newest weights for other programs; resuming reads the newest undamaged checkpoint. Both have checksums of their tensors
//! and of the training state (`fs/checksums.rs`), which loading verifies.

mod folder;
mod state;

pub use folder::RunFolder;
pub use state::{
    BaseMark, Checkpoint, DataMark, Launch, Snapshot, TrainState, load_checkpoint, save_checkpoint,
};

#[cfg(test)]
mod damage;
#[cfg(test)]
mod tests;
