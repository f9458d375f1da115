//! Reading files that are small, if they are what they should be.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::error::TrainError;

/// The bytes of the file `path`, a file of `kind`.
///
/// # Errors
/// [`TrainError::Io`]; [`TrainError::FileFormat`] if it has more than `most` bytes, of which no more is read.
pub(crate) fn read_limited(path: &Path, kind: &'static str, most: u64) -> Result<Vec<u8>, TrainError> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(TrainError::io("read", path))?;
    file.take(most + 1).read_to_end(&mut bytes).map_err(TrainError::io("read", path))?;
    if bytes.len() as u64 > most {
        let problem = format!("it has more than {} MiB", most >> 20);
        return Err(TrainError::FileFormat { path: path.to_owned(), kind, problem });
    }
    Ok(bytes)
}
