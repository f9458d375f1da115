//! Files of a run: weights, training state, and the folder that holds them.
//!
//! ```text
//! DIR/config.json  tokenizer.json  model.safetensors      the model, as other programs read it
//! DIR/checkpoints/step-00000200.safetensors               weights, optimizer state and position of one step
//! DIR/.lock                                               held by the process that trains here
//! ```
//!
//! A checkpoint is one file, so it is consistent as a whole or not there: every file is written under a
//! temporary name, made durable and renamed. `model.safetensors` is a copy of the newest weights for use
//! elsewhere; resuming reads the newest checkpoint that is undamaged. Both hold checksums of their tensors and of
//! the training state (`sums.rs`), which loading verifies.

mod atomic;
mod llama2c;
mod lock;
mod model;
mod origin;
mod rope;
mod run;
mod state;
mod sums;
mod tensors;

pub(crate) use atomic::AtomicFile;
pub use atomic::write_atomically;
pub use llama2c::{is_llama2c, llama2c_config, load_llama2c};
pub(crate) use lock::{RunLock, refuse_link};
pub(crate) use model::tokenizer_of;
pub use model::{Model, foreign_weights, load_model, load_params_from, open_model, save_model};
pub use origin::Origin;
pub use run::RunFolder;
pub use state::{Checkpoint, DataMark, Launch, Snapshot, TrainState, load_checkpoint, save_checkpoint};
pub use tensors::{Tensor, TensorFile, write_tensors};

#[cfg(test)]
mod damage;
#[cfg(test)]
mod tests;
