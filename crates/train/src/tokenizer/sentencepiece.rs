//! Models of SentencePiece, which are recognized by their content.

/// Whether a file is a model of SentencePiece: a message whose first field is a piece, whose first field is its text.
///
/// Source: google/sentencepiece `sentencepiece_model.proto`: `ModelProto.pieces` = 1, `SentencePiece.piece` = 1, `score` = 2.
pub(super) fn is_model(bytes: &[u8]) -> bool {
    const TEXT: u8 = 1 << 3 | 2;
    const SCORE: u8 = 2 << 3 | 5;
    // The first piece is short: `<unk>`, `<pad>` or `<s>`.
    let [TEXT, length @ 2..128, TEXT, text @ 1..128, rest @ ..] = bytes else { return false };
    let (length, text) = (usize::from(*length), usize::from(*text));
    let name = rest.get(..text).and_then(|name| std::str::from_utf8(name).ok());
    name.is_some() && text + 2 <= length && (text + 2 == length || rest.get(text) == Some(&SCORE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_recognized() {
        assert!(is_model(b"\n\x0e\n\x05<unk>\x15\0\0\0\0\x18\x02\n\x0c"));
        assert!(is_model(b"\n\x0a\n\x03<s>\x15\0\0\0\0"));
        // The longest token has 10 bytes, and the first token's score is 0.
        assert!(!is_model(b"\n\0\0\0\0\0\0\0\x05\0\0\0<unk>"));
        for other in [&b""[..], b"{}", b"\n\n{}", b"GGUF\x03\0\0\0", b"\n\x0e\n\x05<un"] {
            assert!(!is_model(other), "{other:?}");
        }
    }
}
