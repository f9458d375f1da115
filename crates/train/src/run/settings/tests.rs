//! Tests of settings.

use super::*;

#[test]
fn settings_go_through_a_checkpoint_unchanged() {
    let mut settings =
        Settings { lr: 0.1 + 0.2, loss_scale: LossScale::Fixed(1e-3), seed: u64::MAX, ..Settings::default() };
    (settings.schedule, settings.math) = (ScheduleKind::Constant, MatmulPrecision::Bf16);
    (settings.optimizer, settings.output_init) = (OptimizerKind::Muon, OutputInit::Zero);
    (settings.norms, settings.storage) = (Norms::Host, Precision::F32);
    let text = settings.to_json().to_string();
    let stored: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(Settings::from_json(&stored), Ok(settings));
}

#[test]
fn stored_settings_are_whole_and_possible() {
    let all = Settings::default().to_json();
    for name in all.as_object().unwrap().keys() {
        let mut without = all.clone();
        without.as_object_mut().unwrap().shift_remove(name);
        let read = Settings::from_json(&without);
        match ADDED_LATER.contains(&name.as_str()) {
            true => assert_eq!(read, Ok(Settings::default())),
            false => assert_eq!(read, Err(format!("`{name}` is missing"))),
        }
        let mut wrong = all.clone();
        wrong[name] = Value::from("(octonions");
        assert_eq!(Settings::from_json(&wrong), Err(format!("`{name}` is \"(octonions\"")));
    }
}

#[test]
fn each_flag_sets_its_setting_and_refuses_what_it_cannot_be() {
    for flag in flags() {
        let names = (flag.values)();
        let number = ["2", "0.5"].into_iter().find(|x| (flag.check)(x).is_ok()).unwrap_or("2");
        let is_pattern = (flag.check)("a|b").is_ok();
        let (good, bad) = match names.last() {
            Some(name) => (*name, "octonions"),
            None if is_pattern => ("q,v", "("),
            None => (number, "-1"),
        };
        let mut given = Overrides::default();
        assert!((flag.check)(bad).is_err() && given.set(flag.name, bad).is_err(), "{flag:?}");
        assert_eq!(given, Overrides::default());
        assert_eq!(((flag.check)(good), given.set(flag.name, good)), (Ok(()), Ok(())), "{flag:?}");
        assert_ne!(given, Overrides::default(), "{flag:?}");
        // `seq` is a property of the model.
        assert_eq!(Settings::default().with(&given) == Settings::default(), flag.name == "seq", "{flag:?}");
    }
    assert!(Overrides::default().set("colour", "1").is_err());
}

#[test]
fn settings_that_train_nothing_are_refused() {
    let good = Settings::default();
    let refused = |settings: Settings| settings.validate().expect_err("refused").to_string();
    assert!(good.validate().is_ok());
    assert_eq!(
        refused(Settings { lr: f64::NAN, ..good.clone() }),
        "`lr` is NaN, but must be a number above 0"
    );
    assert_eq!(
        refused(Settings { steps: 1 << 32, ..good.clone() }),
        "the number of steps is 4294967296, but must be at most 4294967295"
    );
    assert_eq!(
        refused(Settings { batch: 1 << 11, accum: 1 << 10, ..good }),
        "batch × accumulation is 2048 × 1024, but must be at most 1048576"
    );
}
