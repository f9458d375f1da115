//! Tests of token files.

use super::*;

#[test]
fn token_files_are_checked_when_opened() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("t.bin");
    let refusal = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let error = TokenFile::open(&path, 500).unwrap_err();
        error.to_string().replace(&path.display().to_string(), "t.bin")
    };
    assert_eq!(refusal(b""), "`t.bin` is empty");
    assert_eq!(refusal(b"abc"), "`t.bin` has 3 bytes, which is not a whole number of 2-byte tokens");
    let mut tokens = vec![499; 700_000];
    tokens[600_001] = 500;
    assert_eq!(
        refusal(&token_bytes(&tokens)),
        "`t.bin`: token 600001 is 500, the model's vocabulary ends at 499: the largest is 500, so the tokenizer that made \
         them has at least 501 tokens"
    );
    let error = TokenFile::open(dir.path(), 500).unwrap_err();
    assert!(matches!(error, TrainError::Io { .. } | TrainError::EmptyText { .. }), "{error}");
}

/// Little-endian numbers of `width` bytes.
fn wide(tokens: &[u64], width: usize) -> Vec<u8> {
    tokens.iter().flat_map(|t| t.to_le_bytes().into_iter().take(width)).collect()
}

fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let mut text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    text.push_str(&" ".repeat((64 - (10 + text.len() + 1) % 64) % 64));
    text.push('\n');
    [b"\x93NUMPY\x01\x00", &(text.len() as u16).to_le_bytes()[..], text.as_bytes(), data].concat()
}

fn tensor(name: &str, format: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let end = data.len();
    let header = format!(r#"{{"{name}":{{"dtype":"{format}","shape":{shape},"data_offsets":[0,{end}]}}}}"#);
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
}

fn llmc(mark: i32, count: i32, data: &[u8]) -> Vec<u8> {
    let mut words = [0i32; 256];
    words[..3].copy_from_slice(&[mark, 1, count]);
    [words.iter().flat_map(|w| w.to_le_bytes()).collect(), data.to_vec()].concat()
}

#[test]
fn tokens_of_any_width_are_read_as_what_they_are() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("t.bin");
    let ids: Vec<u64> = (0..40).map(|i| i * i % 300 + 1).collect();
    let large: Vec<u64> = ids.iter().map(|id| id + 69_000).collect();
    for (vocab, bytes, want) in [
        (500, wide(&ids, 2), &ids),
        (65_536, wide(&ids, 2), &ids),
        (65_537, wide(&ids, 4), &ids),
        (70_000, wide(&large, 4), &large),
        (500, npy("<u2", "(40,)", &wide(&ids, 2)), &ids),
        (70_000, npy("<u2", "(40,)", &wide(&ids, 2)), &ids),
        (500, npy("<i4", "(40,)", &wide(&ids, 4)), &ids),
        (70_000, npy("<u4", "(40,)", &wide(&large, 4)), &large),
        (70_000, npy("<i8", "(40,)", &wide(&large, 8)), &large),
        (500, tensor("tokens", "I32", "[40]", &wide(&ids, 4)), &ids),
        (500, tensor("ids", "U16", "[1,40]", &wide(&ids, 2)), &ids),
        (70_000, tensor("tokens", "I64", "[40]", &wide(&large, 8)), &large),
        (50_257, llmc(20_240_520, 40, &wide(&ids, 2)), &ids),
        (128_256, llmc(20_240_801, 40, &wide(&large, 4)), &large),
    ] {
        fs::write(&path, &bytes).unwrap();
        let file = TokenFile::open(&path, vocab).unwrap();
        assert_eq!(all_tokens(&file), want.iter().map(|&t| t as u32).collect::<Vec<_>>(), "{vocab}");
        let mut window = [0; 3];
        file.window(7, &mut window).unwrap();
        assert_eq!(window.map(u64::from), want[7..10]);
        assert_eq!(file.split(8, 0.05).unwrap().val.end, 40);
    }
}

#[test]
fn tokens_of_another_width_are_refused_with_the_likely_reason() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("t.bin");
    let refusal = |vocab: usize, bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let error = TokenFile::open(&path, vocab).unwrap_err();
        let hint = error.hint().unwrap().into_owned();
        format!("{error}\n{hint}").replace(&path.display().to_string(), "t.bin")
    };
    let ids: Vec<u64> = (0..40).map(|i| i * i % 300 + 260).collect();
    for width in [4, 8] {
        assert_eq!(
            refusal(1000, &wide(&ids, width)),
            "`t.bin` would be read as 16-bit tokens for a vocabulary of 1000, but it looks like 32-bit ones: every \
             second one is 0\nStore 16-bit tokens, or save them as `.npy`, which says its width."
        );
    }
    assert_eq!(
        refusal(70_000, &wide(&ids, 2)),
        "`t.bin` would be read as 32-bit tokens for a vocabulary of 70000, but it looks like 16-bit ones: each \
         holds two\nStore 32-bit tokens, or save them as `.npy`, which says its width."
    );
    for (bytes, problem) in [
        (npy("<f4", "(40,)", &wide(&ids, 4)), "its numbers are `<f4`, not `<u2`, `<u4`, `<i4` or `<i8`"),
        (npy(">u2", "(40,)", &wide(&ids, 2)), "its numbers are `>u2`, not `<u2`, `<u4`, `<i4` or `<i8`"),
        (npy("<u2", "(4, 10)", &wide(&ids, 2)), "its shape is (4, 10), a stream of tokens has one axis"),
        (
            npy("<u2", "(41,)", &wide(&ids, 2)),
            "its header says 41 tokens of 2 bytes, the file has 80 bytes of tokens",
        ),
        (b"\x93NUMPY\x01".to_vec(), "its header is cut or too long"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{".to_vec(), "its header is cut or too long"),
        (
            llmc(20_240_520, 39, &wide(&ids, 2)),
            "its header says 39 tokens of 2 bytes, the file has 80 bytes of tokens",
        ),
        (
            llmc(20_240_801, 40, &wide(&ids, 2)),
            "its header says 40 tokens of 4 bytes, the file has 80 bytes of tokens",
        ),
        (llmc(20_240_520, 40, &[])[..96].to_vec(), "its header is llm.c's, cut after 96 of 1024 bytes"),
        (
            [20_240_520i32.to_be_bytes().to_vec(), vec![0; 1100]].concat(),
            "its header is llm.c's, in the other byte order",
        ),
        (
            "It was the best of times, it was the worst of times, it was the age of wisdom.".into(),
            "it is text: `.bin` is for tokens, rename it",
        ),
    ] {
        let said = refusal(1000, &bytes);
        assert!(
            said.starts_with(&format!(
                "`t.bin` is not a stream of tokens that this program reads: {problem}\n"
            )),
            "{said}"
        );
    }
    assert!(
        refusal(70_000, &[1; 6])
            .starts_with("`t.bin` has 6 bytes, which is not a whole number of 4-byte tokens")
    );
    assert!(
        refusal(70_000, &wide(&[70_000], 4))
            .starts_with("`t.bin`: token 0 is 70000, the model's vocabulary ends at 69999")
    );
    assert!(refusal(1000, &npy("<i8", "(1,)", &[255; 8])).starts_with("`t.bin`: token 0 is 4294967295"));
}

#[test]
fn a_file_cut_while_in_use_is_an_error() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("t.bin");
    fs::write(&path, token_bytes(&[7; 100])).unwrap();
    let file = TokenFile::open(&path, 8).unwrap();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(101).unwrap();
    for start in [40, 45, 90] {
        let error = file.window(start, &mut [0; 10]).unwrap_err();
        assert!(
            matches!(error, TrainError::TokenFileShrank { start: s, end: e, .. } if (s, e) == (start, start + 10)),
            "{error}"
        );
    }
}

#[test]
fn a_file_overwritten_while_in_use_is_an_error() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("t.bin");
    let tokens: Vec<u16> = (0..100_000u32).map(|i| (i % 50) as u16).collect();
    fs::write(&path, token_bytes(&tokens)).unwrap();
    let file = TokenFile::open(&path, 50).unwrap();
    let read = |start: u64| {
        let mut window = [0; 10];
        file.window(start, &mut window).map(|()| window)
    };
    assert_eq!(read(99_990).unwrap()[9], 49);
    // Other tokens that are as good, at the end alone, by a program that keeps the file's times.
    let times = fs::metadata(&path).unwrap().modified().unwrap();
    let mut other = tokens.clone();
    other[99_999] = 48;
    fs::write(&path, token_bytes(&other)).unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_modified(times).unwrap();
    assert_eq!(read(0).unwrap()[9], 9, "here nothing has changed");
    let error = read(99_990).unwrap_err();
    assert!(matches!(error, TrainError::TokenFileChanged { start: 99_990, end: 100_000, .. }), "{error}");
    assert!(error.hint().unwrap().contains("--resume"));
    // A new file in its place is another file: the open one is unaffected.
    fs::write(&path, token_bytes(&tokens)).unwrap();
    fs::write(dir.path().join("new.bin"), token_bytes(&other)).unwrap();
    fs::rename(dir.path().join("new.bin"), &path).unwrap();
    assert_eq!(read(99_990).unwrap()[9], 49);
}

#[test]
fn fingerprints_tell_token_files_apart() {
    let dir = tempdir().unwrap();
    let print = |tokens: &[u16]| {
        let path = dir.path().join("t.bin");
        fs::write(&path, token_bytes(tokens)).unwrap();
        TokenFile::open(&path, 65_536).unwrap().fingerprint()
    };
    assert_eq!(print(&[1, 2, 3]), print(&[1, 2, 3]));
    assert_ne!(print(&[1, 2, 3]), print(&[1, 3, 2]));
    assert_ne!(print(&[1, 2, 3]), print(&[1, 2, 3, 0]));
    // FNV-1a of the bytes "foobar", from the authors' test vectors.
    assert_eq!(print(&[0x6f66, 0x626f, 0x7261]), 0x8594_4171_f739_67e8);
}

proptest! {
    #[test]
    fn token_files_give_back_every_window(tokens in prop::collection::vec(any::<u16>(), 1..300), from in 0usize..300, count in 0usize..300) {
        let dir = tempdir().unwrap();
        let path = dir.path().join("t.bin");
        fs::write(&path, token_bytes(&tokens)).unwrap();
        let file = TokenFile::open(&path, 65_536).unwrap();
        let mut window = vec![0; count];
        let result = file.window(from as u64, &mut window);
        match tokens.get(from..from + count) {
            Some(want) => {
                result.unwrap();
                prop_assert_eq!(window, want.iter().map(|&t| u32::from(t)).collect::<Vec<_>>());
            }
            None if count == 0 => {}
            None => prop_assert!(result.is_err()),
        }
    }
}

#[test]
fn tokens_are_known_by_their_header_whatever_the_file_is_called() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("t.dat");
    for bytes in [
        npy("<u2", "(4,)", &wide(&[1, 2, 3, 4], 2)),
        llmc(20_240_520, 4, &wide(&[1, 2, 3, 4], 2)),
        tensor("tokens", "U16", "[4]", &wide(&[1, 2, 3, 4], 2)),
    ] {
        fs::write(&path, bytes).unwrap();
        assert!(matches!(Source::open(&path).unwrap(), Source::Tokens(_)));
        assert_eq!(all_tokens(&TokenFile::open(&path, 5).unwrap()), [1, 2, 3, 4]);
    }
}

#[test]
fn a_stream_that_cannot_be_of_this_vocabulary_is_refused_with_the_likely_reason() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("t.bin");
    let many = |ids: &[u64]| ids.repeat(50);
    for (bytes, want) in [
        (
            wide(&many(&[9, 70_000, 128_001]), 4),
            "ends at 499: it looks like 32-bit tokens of a larger vocabulary",
        ),
        (
            wide(&many(&[9, 50_256]), 2),
            "the largest is 50256, so the tokenizer that made them has at least 50257 tokens",
        ),
        (b"\x1f\x8b\x08\0\0\0".repeat(20), "it is packed with gzip: unpack it"),
        ([b"GGUF\x03\0\0\0", &[0; 64][..]].concat(), "it is a model, for `--model`"),
        (
            tensor("x", "F32", "[2]", &[0; 8]),
            "its tensor `x` holds F32 numbers, not U16, I32, U32, I64 or U64",
        ),
        (
            tensor("x", "U16", "[2,2]", &[0; 8]),
            "its tensor `x` has shape [2, 2], a stream of tokens has one axis",
        ),
        (tensor("x", "U16", "[2]", &[0; 3]), "is not a complete safetensors file"),
    ] {
        fs::write(&path, bytes).unwrap();
        let error = TokenFile::open(&path, 500).unwrap_err();
        assert!(error.to_string().contains(want), "{error}\n  should say: {want}");
        assert!(error.hint().is_some());
    }
}
