//! Models of other programs that are refused, by their content, with what converts them.

use std::path::Path;

use super::source::Candidate;
use crate::error::TrainError;

/// Refuses a file that is a model of another program, or a part of one.
///
/// # Errors
/// [`TrainError::Foreign`].
pub(super) fn refuse(path: &Path, candidate: &Candidate) -> Result<(), TrainError> {
    let name = path.display();
    let torch = || {
        format!(
            "Convert it, in its folder: `python -c \"import torch; from safetensors.torch import save_file; \
             save_file({{k: v.clone() for k, v in torch.load('{name}', map_location='cpu', weights_only=True).items()}}, \
             'model.safetensors')\"`, and put `config.json` beside it."
        )
    };
    let head = &candidate.head[..];
    let contains = |text: &[u8]| head.windows(text.len()).any(|part| part == text);
    let (what, remedy) = if head.starts_with(b"PK\x03\x04") {
        let is_torch = contains(b"data.pkl") || contains(b".pkl");
        if !is_torch && contains(b".npy") {
            ("a NumPy archive", "Name a model; arrays of tokens are for `--data`.".to_owned())
        } else if is_torch {
            ("a pickle of PyTorch", torch())
        } else {
            ("a zip archive", "Unpack it, and name the model in it.".to_owned())
        }
    } else if is_pickle(head) {
        ("a pickle of PyTorch", torch())
    } else if is_onnx(head) {
        let remedy = "Name the model that it was made from: `optimum-cli export onnx` was run on a folder of Hugging Face's \
                      format, which `hf download ORG/NAME --local-dir DIR` fetches.";
        ("a model of ONNX", remedy.to_owned())
    } else if is_safetensors(head) {
        let folder = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let remedy = match folder.join("config.json").exists() {
            true => format!("Name its folder, `{}`.", folder.display()),
            false => "Name a folder with it and its `config.json`.".to_owned(),
        };
        ("weights alone, in safetensors", remedy)
    } else if head.starts_with(b"\x89HDF\r\n\x1a\n") {
        ("weights in HDF5, as of Keras", "Use the model's folder of Hugging Face's format.".to_owned())
    } else {
        return Ok(());
    };
    Err(TrainError::Foreign { path: path.to_owned(), what, remedy })
}

/// A pickle of protocol 2 to 5 that begins with an object or a number, as `torch.save` wrote them before it wrote archives.
fn is_pickle(head: &[u8]) -> bool {
    matches!(head, [0x80, 2..=5, b'}' | b'c' | b']' | b'(' | 0x8a | 0x95, ..])
}

/// A protobuf message with a small `ir_version`, then a `producer_name` of text.
fn is_onnx(head: &[u8]) -> bool {
    let [8, 1..=20, 18, length @ 1..=64, rest @ ..] = head else { return false };
    rest.get(..usize::from(*length))
        .is_some_and(|name| name.iter().all(|b| b.is_ascii_graphic() || *b == b' '))
}

/// The length of a header, then the header, which is JSON.
fn is_safetensors(head: &[u8]) -> bool {
    let Some((length, text)) = head.split_first_chunk::<8>() else { return false };
    (2..=100_000_000).contains(&u64::from_le_bytes(*length)) && text.starts_with(b"{\"")
}
