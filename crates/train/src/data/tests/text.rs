//! Tests of text files, folders and tokenizing.

use super::*;

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
            "a.JSON",
            "`a.JSON` holds JSON that is not one record a line, not plain text: `.json` is not supported yet Write one",
        ),
        (
            "a.parquet",
            "`a.parquet` holds a table, not plain text: `.parquet` is not supported yet Put the text itself",
        ),
        ("a.txt.gz", "`a.txt.gz` holds packed files, not plain text: `.gz` is not supported yet Unpack it"),
    ] {
        fs::write(at(name), "[{\"text\": \"to be\"}]").unwrap();
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
    let mut reports = Vec::new();
    let written = tokenize(&source, &tokenizer, (500, 4), &out, &mut |bytes| reports.push(bytes)).unwrap();
    let file = TokenFile::open(&out, tokenizer.vocab_size()).unwrap();
    assert_eq!(file.len(), written);
    // The library itself, on the whole text at once.
    let library = tokenizers::Tokenizer::from_file(tokenizer.save_to_folder(dir.path()).unwrap()).unwrap();
    assert_eq!(all_tokens(&file), library.encode_fast(play, false).unwrap().get_ids());
    assert_eq!(reports, [300_000]);

    let lengths = tokenizer.text_lengths();
    assert_eq!(all_tokens(&file).iter().map(|&id| lengths[id as usize]).sum::<u32>(), 300_000);
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
