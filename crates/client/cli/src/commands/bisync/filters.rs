//! `--exclude` and `--include`: in the order in which they are given.

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use sync::ignored::Filter;

const EXCLUDE: &str = "exclude";
const INCLUDE: &str = "include";
const NONE: &str = "no_filters";

/// What a command line says of filters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Given {
    /// Nothing: those that are remembered count.
    #[default]
    Nothing,
    /// These, from now on.
    These(Vec<Filter>),
}

impl Given {
    /// The filters that count, where these are remembered.
    pub(super) fn or<'f>(&'f self, remembered: &'f [Filter]) -> &'f [Filter] {
        match self {
            Self::Nothing => remembered,
            Self::These(filters) => filters,
        }
    }
}

impl FromArgMatches for Given {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        if matches.get_flag(NONE) {
            return Ok(Self::These(Vec::new()));
        }
        let of = |id: &str| {
            let places = matches.indices_of(id).into_iter().flatten();
            let filters = matches.get_many::<Filter>(id).into_iter().flatten();
            places.zip(filters.cloned()).collect::<Vec<_>>()
        };
        let mut all = of(EXCLUDE);
        all.extend(of(INCLUDE));
        all.sort_by_key(|(place, _)| *place);
        Ok(match all.is_empty() {
            true => Self::Nothing,
            false => Self::These(all.into_iter().map(|(_, filter)| filter).collect()),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Given {
    fn augment_args(command: Command) -> Command {
        let pattern = |id: &'static str| {
            Arg::new(id)
                .long(id)
                .value_name("PATTERN")
                .action(ArgAction::Append)
                .allow_hyphen_values(true)
        };
        let exclude = pattern(EXCLUDE)
            .value_parser(|text: &str| Filter::exclude(text))
            .help(
                "Leave out what PATTERN names, in the language of .gitignore; may be given again. \
                 Stands above every .artifactsignore; of several --exclude and --include the last \
                 that names a path counts. Remembered: runs, --watch and check without any of \
                 them use those that were given last",
            );
        let include = pattern(INCLUDE)
            .value_parser(|text: &str| Filter::include(text))
            .help(
                "Take in again what PATTERN names. Below a directory that is left out nothing \
                 comes back. To sync notes only: --exclude '*' --include '*/' --include '*.md'",
            );
        let none = Arg::new(NONE)
            .long("no-filters")
            .action(ArgAction::SetTrue)
            .conflicts_with_all([EXCLUDE, INCLUDE])
            .help("Forget the --exclude and --include that were given before");
        command.arg(exclude).arg(include).arg(none)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(line: &str) -> Result<Given, clap::Error> {
        let words = line.split_whitespace();
        let matches = Given::augment_args(Command::new("x")).try_get_matches_from(words)?;
        Given::from_arg_matches(&matches)
    }

    #[test]
    fn the_order_is_that_of_the_command_line() {
        let lines = |given: Given| match given {
            Given::Nothing => None,
            Given::These(all) => Some(all.iter().map(|f| f.line().to_owned()).collect::<Vec<_>>()),
        };
        let mixed = given("x --include b --exclude a --include c --exclude -d").unwrap();
        assert_eq!(lines(mixed).unwrap(), ["!b", "a", "!c", "-d"]);
        assert_eq!(lines(given("x").unwrap()), None);
        assert_eq!(lines(given("x --no-filters").unwrap()), Some(Vec::new()));
        assert!(given("x --no-filters --exclude a").is_err());
        assert!(given("x --exclude !a").is_err());
    }
}
