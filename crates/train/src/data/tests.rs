use std::fs;

use proptest::prelude::*;
use tempfile::tempdir;

use super::*;
use crate::config::ModelConfig;
use crate::tokenizer::Tokenizer;

fn token_bytes(tokens: &[u16]) -> Vec<u8> {
    tokens.iter().flat_map(|t| t.to_le_bytes()).collect()
}

fn all_tokens(file: &TokenFile) -> Vec<u32> {
    let mut tokens = vec![0; file.len() as usize];
    file.window(0, &mut tokens).unwrap();
    tokens
}

#[test]
fn the_bundled_text_is_the_one_its_readme_describes() {
    assert_eq!(bundled().len(), 1_999_253);
    assert!(bundled().is_ascii());
    assert!(bundled().starts_with("HAMLET, PRINCE OF DENMARK\n"));
}

#[test]
fn each_bad_source_has_its_own_sentence() {
    let dir = tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("empty.txt"), "").unwrap();
    fs::create_dir(at("folder")).unwrap();
    fs::write(at("folder/notes.md"), "text").unwrap();
    fs::create_dir(at("blank")).unwrap();
    fs::write(at("blank/a.txt"), "").unwrap();
    let refusal = |name: &str| {
        let error = Source::open(&at(name)).unwrap_err();
        let place = format!("{}/", dir.path().display());
        format!("{error} {}", error.hint().unwrap_or_default()).replace(&place, "")
    };
    assert_eq!(refusal("empty.txt"), "`empty.txt` is empty Give a file with text in it.");
    assert_eq!(refusal("blank"), "`blank` is empty Give a file with text in it.");
    assert_eq!(
        refusal("folder"),
        "the folder `folder` holds no `.txt` file Put the text into files that end in `.txt`, or name one file."
    );
    assert_eq!(
        refusal("none.txt"),
        "cannot read `none.txt`: No such file or directory (os error 2) Check the path."
    );
    for (name, want) in [
        (
            "a.jsonl",
            "`a.jsonl` holds JSON records, not plain text: `.jsonl` is not supported yet Put the text itself",
        ),
        (
            "a.JSON",
            "`a.JSON` holds JSON records, not plain text: `.json` is not supported yet Put the text itself",
        ),
        (
            "a.parquet",
            "`a.parquet` holds a table, not plain text: `.parquet` is not supported yet Put the text itself",
        ),
        ("a.txt.gz", "`a.txt.gz` holds packed files, not plain text: `.gz` is not supported yet Unpack it"),
    ] {
        fs::write(at(name), "{\"text\": \"to be\"}").unwrap();
        let said = refusal(name);
        assert!(said.starts_with(want), "{said}");
    }
    assert_eq!(
        refusal("none.bin"),
        "cannot read `none.bin`: No such file or directory (os error 2) Check the path."
    );
}

#[test]
fn text_that_is_not_utf8_is_refused_with_the_offset_and_leaves_no_file() {
    let dir = tempdir().unwrap();
    let text = dir.path().join("latin1.txt");
    let out = dir.path().join("tokens.bin");
    let tokenizer = Tokenizer::train([Ok("a b c".to_owned())].into_iter(), 257).unwrap();
    // Within the first chunk, after several chunks, and a character cut off by the end of the file.
    for (good, bad) in [(5, &b"caf\xe9 au lait"[..]), (400_000, b"\xff"), (3, b"\xc3")] {
        let mut bytes = bundled().as_bytes()[..good].to_vec();
        bytes.extend(bad);
        fs::write(&text, &bytes).unwrap();
        let offset = good as u64 + if bad.len() > 1 { 3 } else { 0 };
        let Source::Text(source) = Source::open(&text).unwrap() else { panic!("text expected") };
        let error = tokenize(&source, &tokenizer, (500, 4), &out, &mut |_| ()).unwrap_err();
        let want = format!("`{}` is not UTF-8 text: byte {offset} starts no valid character", text.display());
        assert_eq!(error.to_string(), want);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "a token file was left behind");
    }
}

#[test]
fn a_text_read_in_pieces_gives_the_tokens_of_the_whole() {
    let dir = tempdir().unwrap();
    let (text, out) = (dir.path().join("play.txt"), dir.path().join("tokens.bin"));
    let play = &bundled()[..300_000];
    fs::write(&text, play).unwrap();
    let source = TextSource::open(&text).unwrap();
    let tokenizer = train_tokenizer(&source, 400).unwrap();
    assert!(tokenizer.splits_at_spaces());
    let mut heard = Vec::new();
    let written = tokenize(&source, &tokenizer, (500, 4), &out, &mut |bytes| heard.push(bytes)).unwrap();
    let file = TokenFile::open(&out, tokenizer.vocab_size()).unwrap();
    assert_eq!(file.len(), written);
    // The library itself, on the whole text at once.
    let library = tokenizers::Tokenizer::from_file(tokenizer.save_to_folder(dir.path()).unwrap()).unwrap();
    assert_eq!(all_tokens(&file), library.encode_fast(play, false).unwrap().get_ids());
    assert_eq!(heard, [300_000]);

    let lengths = tokenizer.text_lengths();
    assert_eq!(file.text_bytes(0..file.len(), &lengths).unwrap(), 300_000);
    let split = file.split(32, 0.05).unwrap();
    let [train, val] = [split.train, split.val].map(|range| file.text_bytes(range, &lengths).unwrap());
    assert_eq!(train + val, 300_000);
}

#[test]
fn documents_of_a_folder_are_joined_in_path_order_with_a_separator() {
    let dir = tempdir().unwrap();
    let out = dir.path().join("tokens.bin");
    fs::create_dir(dir.path().join("more")).unwrap();
    for (name, text) in [("b.txt", "second"), ("a.txt", "first"), ("more/c.TXT", "third"), ("z.md", "no")] {
        fs::write(dir.path().join(name), text).unwrap();
    }
    fs::write(dir.path().join("ab.txt"), "").unwrap();
    let source = TextSource::open(dir.path()).unwrap();
    let tokenizer = train_tokenizer(&source, 257).unwrap();
    tokenize(&source, &tokenizer, (500, 4), &out, &mut |_| ()).unwrap();
    let file = TokenFile::open(&out, 257).unwrap();
    assert_eq!(tokenizer.decode(&all_tokens(&file)), "first<|endoftext|>second<|endoftext|>third");
}

#[test]
fn a_text_shorter_than_a_window_is_refused_by_its_own_name_and_writes_nothing() {
    let dir = tempdir().unwrap();
    let (text, out) = (dir.path().join("short.txt"), dir.path().join("tokens.bin"));
    fs::write(&text, "abcdefgh").unwrap();
    fs::write(&out, "earlier").unwrap();
    let source = TextSource::open(&text).unwrap();
    let tokenizer = train_tokenizer(&source, 257).unwrap();
    let error = tokenize(&source, &tokenizer, (500, 8), &out, &mut |_| ()).unwrap_err();
    assert_eq!(
        error.to_string().replace(&text.display().to_string(), "short.txt"),
        "`short.txt` holds 8 tokens, one window of 8 tokens and its targets needs 9"
    );
    assert_eq!(fs::read_to_string(&out).unwrap(), "earlier");
    assert_eq!(tokenize(&source, &tokenizer, (500, 7), &out, &mut |_| ()).unwrap(), 8);
}

#[test]
fn a_text_without_spaces_goes_round() {
    let dir = tempdir().unwrap();
    let (text, out) = (dir.path().join("long.txt"), dir.path().join("tokens.bin"));
    // More than the longest chunk, without a cut that changes no token; the forced cut must split no character.
    let content = "“né”".repeat(600_000 / 9);
    fs::write(&text, &content).unwrap();
    let source = TextSource::open(&text).unwrap();
    let tokenizer = Tokenizer::train([Ok("“né”“né”".to_owned())].into_iter(), 262).unwrap();
    tokenize(&source, &tokenizer, (500, 4), &out, &mut |_| ()).unwrap();
    let file = TokenFile::open(&out, 262).unwrap();
    assert_eq!(tokenizer.decode(&all_tokens(&file)), content);
}

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
        "`t.bin`: token 600001 is 500, the model's vocabulary ends at 499"
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
        "`t.bin` would be read as 32-bit tokens for a vocabulary of 70000, but it looks like 16-bit ones: two stand in \
         each\nStore 32-bit tokens, or save them as `.npy`, which says its width."
    );
    for (bytes, problem) in [
        (npy("<f4", "(40,)", &wide(&ids, 4)), "its numbers are `<f4`, not `<u2`, `<u4`, `<i4` or `<i8`"),
        (npy(">u2", "(40,)", &wide(&ids, 2)), "its numbers are `>u2`, not `<u2`, `<u4`, `<i4` or `<i8`"),
        (npy("<u2", "(4, 10)", &wide(&ids, 2)), "its shape is (4, 10), a stream of tokens has one axis"),
        (
            npy("<u2", "(41,)", &wide(&ids, 2)),
            "its header promises 41 tokens of 2 bytes, 80 bytes of tokens are there",
        ),
        (b"\x93NUMPY\x01".to_vec(), "its header is cut or too long"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{".to_vec(), "its header is cut or too long"),
        (
            llmc(20_240_520, 39, &wide(&ids, 2)),
            "its header promises 39 tokens of 2 bytes, 80 bytes of tokens are there",
        ),
        (
            llmc(20_240_801, 40, &wide(&ids, 2)),
            "its header promises 40 tokens of 4 bytes, 80 bytes of tokens are there",
        ),
        (llmc(20_240_520, 40, &[])[..96].to_vec(), "its header is llm.c's, cut after 96 of 1024 bytes"),
        (
            [20_240_520i32.to_be_bytes().to_vec(), vec![0; 1100]].concat(),
            "its header is llm.c's, in the other byte order",
        ),
        (
            "It was the best of times, it was the worst of times, it was the age of wisdom.".into(),
            "it reads as text: give it another ending than `.bin`",
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
fn a_large_vocabulary_is_written_in_32_bits() {
    let dir = tempdir().unwrap();
    let (text, out) = (dir.path().join("text.txt"), dir.path().join("tokens.bin"));
    fs::write(&text, "to be or not to be").unwrap();
    let source = TextSource::open(&text).unwrap();
    let tokenizer = Tokenizer::train([Ok("to be".to_owned())].into_iter(), 257).unwrap();
    let count = tokenize(&source, &tokenizer, (65_537, 4), &out, &mut |_| ()).unwrap();
    assert_eq!(fs::metadata(&out).unwrap().len(), 4 * count);
    let file = TokenFile::open_counted(&out, 65_537, count).unwrap();
    assert_eq!(tokenizer.decode(&all_tokens(&file)), "to be or not to be");
    // An earlier version wrote 16 bits for it.
    fs::write(&out, token_bytes(&[1; 18])).unwrap();
    assert_eq!(all_tokens(&TokenFile::open_counted(&out, 65_537, 18).unwrap()), [1; 18]);
    let error = tokenize(&source, &tokenizer, (256, 4), &out, &mut |_| ()).unwrap_err();
    assert_eq!(error.to_string(), "the tokenizer has 257 tokens, the model's vocabulary has 256");
}

#[test]
fn a_byte_order_mark_is_no_text_and_utf16_and_binaries_are_refused() {
    let dir = tempdir().unwrap();
    let (text, out) = (dir.path().join("text.txt"), dir.path().join("tokens.bin"));
    let tokenizer = Tokenizer::train([Ok("to be".to_owned())].into_iter(), 257).unwrap();
    let tokens = |bytes: &[u8]| {
        fs::write(&text, bytes).unwrap();
        let source = TextSource::open(&text).unwrap();
        tokenize(&source, &tokenizer, (257, 4), &out, &mut |_| ())
            .map(|count| tokenizer.decode(&all_tokens(&TokenFile::open_counted(&out, 257, count).unwrap())))
            .map_err(|error| error.to_string().replace(&text.display().to_string(), "t"))
    };
    assert_eq!(tokens("\u{feff}to be, or".as_bytes()).unwrap(), "to be, or");
    // Only at the beginning is it a mark.
    assert_eq!(tokens("to \u{feff}be".as_bytes()).unwrap(), "to \u{feff}be");
    assert_eq!(tokens("\u{feff}\u{feff}be to".as_bytes()).unwrap(), "\u{feff}be to");
    let latin1 = tokens(b"\xef\xbb\xbfcaf\xe9 and").unwrap_err();
    assert_eq!(latin1, "`t` is not UTF-8 text: byte 6 starts no valid character");
    let utf16 = |mark: &str, big: bool| -> Vec<u8> {
        let units = mark.encode_utf16().chain("to be, or not to be".encode_utf16());
        units.flat_map(|u| if big { u.to_be_bytes() } else { u.to_le_bytes() }).collect()
    };
    for (bytes, want) in [
        (utf16("\u{feff}", false), "`t` is not UTF-8 text: byte 0 is 0xff, as in UTF-16"),
        (utf16("\u{feff}", true), "`t` is not UTF-8 text: byte 0 is 0xfe, as in UTF-16"),
        (utf16("", false), "`t` is not UTF-8 text: byte 1 is 0x00, as in UTF-16"),
        (utf16("", true), "`t` is not UTF-8 text: byte 0 is 0x00, as in UTF-16"),
        (b"GIF89a\x01\0\x01\0\0\0\0".to_vec(), "`t` is not UTF-8 text: byte 7 is 0x00, as in a binary file"),
        (b"to be or not\0 to be".to_vec(), "`t` is not UTF-8 text: byte 12 is 0x00, as in a binary file"),
    ] {
        assert_eq!(tokens(&bytes).unwrap_err(), want);
    }
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
    // A new file in its place is another file: this one goes on with what it has.
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

#[test]
fn one_window_trains_and_validates_and_less_is_refused() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("t.bin");
    let open = |count| {
        fs::write(&path, token_bytes(&vec![1; count])).unwrap();
        TokenFile::open(&path, 2).unwrap()
    };
    let split = open(65).split(64, 0.05).unwrap();
    assert_eq!((split.train.clone(), split.val.clone()), (0..65, 0..65));
    assert!(split.overlaps());
    assert_eq!(split.val_windows(10), [0]);
    assert_eq!(Sampler::new(9, &split).start(3, 1), 0);

    let error = open(64).split(64, 0.05).unwrap_err();
    assert_eq!(
        error.to_string().replace(&path.display().to_string(), "t.bin"),
        "`t.bin` holds 64 tokens, one window of 64 tokens and its targets needs 65"
    );
    assert_eq!(error.hint().unwrap(), "Give more text, or a smaller `--seq`.");
    let error = open(5).split(usize::MAX - 1, 0.05).unwrap_err();
    assert!(matches!(error, TrainError::TooFewTokens { .. }));
}

#[test]
fn validation_windows_are_spread_evenly_and_share_no_target() {
    assert_eq!(windows(100..141, 10, 100), [100, 110, 120, 130]);
    assert_eq!(windows(100..140, 10, 100), [100, 110, 120]);
    assert_eq!(windows(0..1001, 10, 4), [0, 250, 500, 750]);
    assert_eq!(windows(0..10, 10, 4), [] as [u64; 0]);
}

#[test]
fn training_windows_are_uniform_and_repeat() {
    let split = Split { train: 10..27, val: 27..40, seq: 9 };
    let sampler = Sampler::new(1, &split);
    let mut counts = [0u32; 8];
    for step in 0..2000 {
        for index in 0..2 {
            let start = sampler.start(step, index);
            assert_eq!(start, Sampler::new(1, &split).start(step, index));
            counts[(start - 10) as usize] += 1;
        }
    }
    // 4000 draws over 8 places: 500 each, standard deviation 21; six of them either way.
    assert!(counts.iter().all(|&n| (374..626).contains(&n)), "{counts:?}");
    assert_ne!(
        (0..20).map(|s| sampler.start(s, 0)).collect::<Vec<_>>(),
        (0..20).map(|s| sampler.start(s, 1)).collect::<Vec<_>>()
    );
}

#[test]
fn synthetic_samples_stay_in_their_range_and_follow_the_seed() {
    let config = ModelConfig { dim: 8, seq: 16, ..ModelConfig::preset("layer768").unwrap() };
    let (x, target) = regression_sample(&config, 42, 0);
    assert_eq!((x.len(), target.len()), (128, 128));
    assert!(x.iter().chain(&target).all(|v| v.abs() <= 0.1));
    assert_eq!(regression_sample(&config, 42, 0), (x.clone(), target.clone()));
    let (other, same) = regression_sample(&config, 42, 1);
    assert_ne!(other, x);
    assert_eq!(same, target);
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

    #[test]
    fn splits_cover_the_file_and_leave_room_for_windows(len in 1u64..5000, seq in 1usize..200, fraction in -1.0f64..2.0, seed: u64) {
        let window = seq as u64 + 1;
        let Some(split) = Split::new(len, seq, fraction) else {
            prop_assert!(len < window);
            return Ok(());
        };
        prop_assert_eq!((split.train.start, split.val.end), (0, len));
        prop_assert_eq!(split.overlaps(), len < 2 * window);
        if !split.overlaps() {
            prop_assert_eq!(split.train.end, split.val.start);
        }
        let starts = split.val_windows(5);
        prop_assert!(!starts.is_empty());
        prop_assert!(starts.iter().all(|&s| s >= split.val.start && s + window <= len));
        let start = Sampler::new(seed, &split).start(1, 0);
        prop_assert!(start + window <= split.train.end);
    }
}
