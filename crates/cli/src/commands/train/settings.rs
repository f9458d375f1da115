//! Flags of a run's settings, from the table in `train::run`.

use clap::builder::PossibleValuesParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Args, Command, Error, FromArgMatches};
use train::run::{Overrides, Setting, flags};

/// The settings given on the command line.
#[derive(Debug)]
pub struct SettingFlags(pub Overrides);

fn arg(setting: Setting) -> Arg {
    let (flag, value) = setting.flag;
    let arg = Arg::new(setting.name).long(flag).value_name(value).help(setting.help);
    let names = (setting.values)();
    let arg = match setting.is_switch() {
        true => arg.num_args(0..=1).default_missing_value("true").require_equals(true),
        false => arg,
    };
    if names.is_empty() {
        arg.value_parser(move |text: &str| (setting.check)(text).map(|()| text.to_owned()))
    } else {
        arg.value_parser(PossibleValuesParser::new(names))
    }
}

impl Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        command.args(flags().map(arg))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut given = SettingFlags(Overrides::default());
        given.update_from_arg_matches(matches)?;
        Ok(given)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        for setting in flags() {
            if let Some(text) = matches.get_one::<String>(setting.name) {
                self.0.set(setting.name, text).map_err(|e| Error::raw(ErrorKind::ValueValidation, e))?;
            }
        }
        Ok(())
    }
}
