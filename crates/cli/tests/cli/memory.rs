//! The memory of training with a vocabulary as large as Gemma's, as Linux reports it of the process.

use crate::place::Place;
use serde_json::Value;

/// Tokens of the vocabulary, and of a window.
const VOCAB: u64 = 262_144;
const SEQ: u64 = 256;
/// Bytes of the logits of a window, which are never stored at once.
const LOGITS: u64 = 4 * VOCAB * SEQ;

/// The model in `model` trains three steps: the peak of the process, in bytes.
fn peak(place: &Place, options: &str) -> u64 {
    let report = place.succeed(&format!(
        "train {options} --data tokens.bin --batch 1 --steps 3 --warmup 1 --threads 2 --quiet --json"
    ));
    let report = report.json();
    assert!(report["loss"]["last"].as_f64().is_none_or(f64::is_finite), "{report}");
    report["memory"]["process_peak"].as_u64().expect("Linux reports it")
}

#[test]
fn a_vocabulary_of_262144_is_trained_within_the_memory_that_is_stated() {
    let place = Place::new();
    place.write(
        "model.toml",
        format!(
            "preset = \"tiny\"\nvocab = {VOCAB}\nseq = {SEQ}\ndim = 16\nhidden = 16\nheads = 2\nkv_heads = 1\nhead_dim = 8\n\
             layers = 1\n"
        ),
    );
    let tokens = (0..4 * SEQ).map(|i| (i * i * 7919 % VOCAB) as u32);
    place.write("tokens.bin", tokens.flat_map(u32::to_le_bytes).collect::<Vec<u8>>());

    let whole = peak(&place, "--model model.toml --out run");
    let info: Value = place.succeed("info run --json").json();
    let stated = |purpose: &str| info["memory"][purpose].as_u64().expect("bytes");
    let adapters = peak(&place, "--model run --lora 2 --out adapters");
    // The stated memory is a lower bound: the program itself and the copy of the weights made for saving come on top.
    const BESIDES: u64 = 100 << 20;
    for (peak, stated) in [(whole, stated("train")), (adapters, stated("tune"))] {
        assert!(stated <= peak && peak < stated + BESIDES, "{} MiB, stated {}", peak >> 20, stated >> 20);
    }
    // The stated sizes hold no full block of logits.
    assert!(stated("train") + BESIDES < LOGITS && stated("tune") + BESIDES < LOGITS, "{info}");
}
