//! Tests of the split into windows, and of the choice among them.

use super::*;

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
