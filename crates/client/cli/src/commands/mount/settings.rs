//! What a mount can be told: by option, else by variable, else by the workspace's file.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use credentials::KeyProfile;
use filesystem::{Attributes, Settings};
use model::Profile;
use toml::Table;

use super::values::{Size, Span, Switch};
use crate::context::Context;
use crate::failure::{Code, Failure, Result};
use crate::key_choice::{KeyChoice, Settled};
use crate::registered::Right;
use crate::variables;

const PROFILE: &str = "ARTIFACTS_MOUNT_PROFILE";
const READ_ONLY: &str = "ARTIFACTS_MOUNT_READ_ONLY";
const ALLOW_OTHER: &str = "ARTIFACTS_MOUNT_ALLOW_OTHER";
const MEMORY_LIMIT: &str = "ARTIFACTS_MOUNT_MEMORY_LIMIT";
const CACHE_SIZE: &str = "ARTIFACTS_MOUNT_CACHE_SIZE";
const UPLOADS: &str = "ARTIFACTS_MOUNT_UPLOADS";
const ATTR_TTL: &str = "ARTIFACTS_MOUNT_ATTR_TTL";
const WRITE_BACK: &str = "ARTIFACTS_MOUNT_WRITE_BACK";
const PASSTHROUGH: &str = "ARTIFACTS_MOUNT_PASSTHROUGH";
const ATTRIBUTES: &str = "ARTIFACTS_MOUNT_ATTRIBUTES";
const TICKET: &str = "ARTIFACTS_MOUNT_TICKET";
const LAZY: &str = "ARTIFACTS_MOUNT_LAZY";

/// Names in the table `[mount]` of a workspace's file.
const KEYS: [&str; 11] = [
    "profile",
    "read_only",
    "allow_other",
    "memory_limit",
    "cache_size",
    "uploads",
    "attr_ttl",
    "write_back",
    "attributes",
    "lazy",
    "passthrough",
];

/// How a workspace is mounted. Each also as a variable ARTIFACTS_MOUNT_…, and in the table
/// `[mount]` of the workspace's file.
#[derive(Args, Debug, Clone, Default)]
pub(crate) struct Flags {
    /// The promises about time: fast, balanced or safe.
    #[arg(long, value_name = "PROFILE")]
    profile: Option<Profile>,
    /// Refuse every change.
    #[arg(long)]
    read_only: bool,
    /// Let other users of this machine in; root always does. Others need
    /// `user_allow_other` in /etc/fuse.conf.
    #[arg(long)]
    allow_other: bool,
    /// Memory for names that are known: 512M.
    #[arg(long, value_name = "SIZE")]
    memory_limit: Option<Size>,
    /// Local disk for cached bodies: 10G.
    #[arg(long, value_name = "SIZE")]
    cache_size: Option<Size>,
    /// Uploads at one time.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=256))]
    uploads: Option<u16>,
    /// The longest that another machine's change may stay unseen: 10s.
    #[arg(long, value_name = "DURATION")]
    attr_ttl: Option<Span>,
    /// How long after the last close an upload begins: 2s.
    #[arg(long, value_name = "DURATION")]
    write_back: Option<Span>,
    /// Where modes, owners and times that other tools set are looked for: `index` (with a
    /// file's bytes) or `head` (also when it is looked up by name, one request each).
    #[arg(long, value_name = "WHERE")]
    attributes: Option<Attributes>,
    /// List nothing before it is asked for.
    #[arg(long)]
    lazy: bool,
    /// Do not let the kernel read and write whole local files by itself.
    #[arg(long)]
    no_passthrough: bool,
    /// The file of a ticket: what it allows counts, and no login is needed
    /// [default: ARTIFACTS_MOUNT_TICKET].
    #[arg(long, value_name = "FILE")]
    ticket: Option<PathBuf>,
    /// Use this set of keys in place of those that the workspace was made with. (Other
    /// commands call it --profile, which here is the mount's.) [default: ARTIFACTS_PROFILE,
    /// else the workspace's own]
    #[arg(long, value_name = "PROFILE")]
    pub(crate) key_profile: Option<KeyProfile>,
    /// Use the keys of this profile of the AWS tools. Their files are only read.
    #[arg(long, value_name = "PROFILE", conflicts_with = "key_profile")]
    pub(crate) aws_profile: Option<String>,
}

/// What was chosen, from wherever it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Choices {
    profile: Profile,
    /// Refuse every change.
    pub(crate) read_only: bool,
    /// Let other users in.
    pub(crate) allow_other: bool,
    memory_limit: Option<Size>,
    cache_size: Option<Size>,
    uploads: Option<u16>,
    attr_ttl: Option<Span>,
    write_back: Option<Span>,
    attributes: Option<Attributes>,
    lazy: bool,
    /// Let the kernel read and write whole local files by itself, where it can.
    pub(crate) passthrough: bool,
}

impl Flags {
    /// Settles every choice.
    pub(crate) fn choose(&self, file: &Table) -> Result<Choices> {
        self.choose_with(file, &variables::text)
    }

    fn choose_with(
        &self,
        file: &Table,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Choices> {
        let from = Sources { file, variable };
        let switch = |flag: bool, name, key| -> Result<bool> {
            let given = flag.then_some(Switch(true));
            Ok(from.pick(given, name, key)?.unwrap_or(Switch(false)).0)
        };
        Ok(Choices {
            profile: from
                .pick(self.profile, PROFILE, "profile")?
                .unwrap_or_default(),
            read_only: switch(self.read_only, READ_ONLY, "read_only")?,
            allow_other: switch(self.allow_other, ALLOW_OTHER, "allow_other")?,
            memory_limit: from.pick(self.memory_limit, MEMORY_LIMIT, "memory_limit")?,
            cache_size: from.pick(self.cache_size, CACHE_SIZE, "cache_size")?,
            uploads: from
                .pick(self.uploads, UPLOADS, "uploads")?
                .map(|n| n.clamp(1, 256)),
            attr_ttl: from.pick(self.attr_ttl, ATTR_TTL, "attr_ttl")?,
            write_back: from.pick(self.write_back, WRITE_BACK, "write_back")?,
            attributes: from.pick(self.attributes, ATTRIBUTES, "attributes")?,
            lazy: switch(self.lazy, LAZY, "lazy")?,
            passthrough: from
                .pick(
                    self.no_passthrough.then_some(Switch(false)),
                    PASSTHROUGH,
                    "passthrough",
                )?
                .unwrap_or(Switch(true))
                .0,
        })
    }

    /// The file of a ticket, if one is given.
    pub(crate) fn ticket(&self) -> Option<PathBuf> {
        let given = self.ticket.clone();
        let given = given.or_else(|| variables::text(TICKET).map(PathBuf::from));
        given.map(|path| std::path::absolute(&path).unwrap_or(path))
    }

    /// Which keys are chosen: by option, by the variable, by a ticket, or the workspace's own.
    pub(crate) fn settled(&self, context: &Context) -> Result<Settled> {
        let chosen = KeyChoice {
            profile: self.key_profile.clone(),
            aws_profile: self.aws_profile.clone(),
        };
        Ok(match chosen.settled(context)? {
            Settled::Own => self.own_keys(),
            chosen => chosen,
        })
    }

    /// By what right a key that is issued is asked for.
    pub(crate) fn right(&self) -> Right {
        match self.ticket() {
            Some(_) => Right::Ticket,
            None => Right::Login,
        }
    }

    /// The workspace's own keys, or what a ticket was exchanged for.
    pub(crate) fn own_keys(&self) -> Settled {
        self.right().settled()
    }

    /// The same options, but for the choice of keys, as words of a command line, for the
    /// background process.
    pub(crate) fn to_words(&self) -> Vec<String> {
        let mut words = Vec::new();
        let mut option = |name: &str, value: Option<String>| {
            words.extend(value.map(|value| format!("--{name}={value}")));
        };
        option("profile", self.profile.map(|v| v.to_string()));
        option("memory-limit", self.memory_limit.map(|v| v.to_string()));
        option("cache-size", self.cache_size.map(|v| v.to_string()));
        option("uploads", self.uploads.map(|v| v.to_string()));
        option("attr-ttl", self.attr_ttl.map(|v| v.to_string()));
        option("write-back", self.write_back.map(|v| v.to_string()));
        option("attributes", self.attributes.map(|v| v.to_string()));
        let ticket = self.ticket();
        option("ticket", ticket.map(|path| path.display().to_string()));
        for (name, given) in [
            ("read-only", self.read_only),
            ("allow-other", self.allow_other),
            ("lazy", self.lazy),
            ("no-passthrough", self.no_passthrough),
        ] {
            words.extend(given.then(|| format!("--{name}")));
        }
        words
    }
}

impl Choices {
    /// The promises about time.
    pub(crate) fn profile(&self) -> Profile {
        self.profile
    }

    /// Puts what was chosen over the defaults.
    pub(crate) fn apply(&self, settings: &mut Settings) {
        settings.read_only |= self.read_only;
        settings.lazy = self.lazy;
        if let Some(Size(bytes)) = self.memory_limit {
            settings.memory_limit = bytes;
        }
        if let Some(Size(bytes)) = self.cache_size {
            settings.cache_size = bytes;
        }
        if let Some(count) = self.uploads {
            settings.uploads = usize::from(count);
        }
        if let Some(attributes) = self.attributes {
            settings.attributes = attributes;
        }
        if let Some(Span(ttl)) = self.attr_ttl {
            settings.attr_ttl = ttl;
        }
        if let Some(Span(delay)) = self.write_back {
            settings.upload_delay = delay;
        }
    }
}

/// Names in the table that this version does not know.
pub(crate) fn unknown_keys(file: &Table) -> Vec<&str> {
    file.keys()
        .map(String::as_str)
        .filter(|key| !KEYS.contains(key))
        .collect()
}

struct Sources<'a> {
    file: &'a Table,
    variable: &'a dyn Fn(&str) -> Option<String>,
}

impl Sources<'_> {
    fn pick<T>(&self, flag: Option<T>, variable: &str, key: &str) -> Result<Option<T>>
    where
        T: FromStr,
        T::Err: std::fmt::Display,
    {
        if flag.is_some() {
            return Ok(flag);
        }
        if let Some(text) = (self.variable)(variable) {
            return parse(&text, variable).map(Some);
        }
        let Some(value) = self.file.get(key) else {
            return Ok(None);
        };
        let text = match value {
            toml::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        parse(
            &text,
            &format!("{key} in the table [mount] of the workspace's file"),
        )
        .map(Some)
    }
}

fn parse<T>(text: &str, place: &str) -> Result<T>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    text.parse()
        .map_err(|error| Failure::new(Code::InvalidValue, format!("{place}: {error}")))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn table(text: &str) -> Table {
        text.parse().expect("toml")
    }

    #[test]
    fn an_option_wins_over_a_variable_and_that_over_the_file() {
        let file = table(
            "profile = 'safe'\nuploads = 4\nattr_ttl = 7\nread_only = true\ncache_size = '1G'",
        );
        let variable = |name: &str| match name {
            "ARTIFACTS_MOUNT_PROFILE" => Some("fast".to_owned()),
            "ARTIFACTS_MOUNT_UPLOADS" => Some("8".to_owned()),
            _ => None,
        };
        let flags = Flags {
            uploads: Some(2),
            ..Flags::default()
        };
        let chosen = flags.choose_with(&file, &variable).expect("chosen");
        assert_eq!(chosen.profile, Profile::Fast);
        assert_eq!(chosen.uploads, Some(2));
        assert_eq!(chosen.attr_ttl, Some(Span(Duration::from_secs(7))));
        assert_eq!(chosen.cache_size, Some(Size(1 << 30)));
        assert!(chosen.read_only && !chosen.lazy && chosen.passthrough);
    }

    #[test]
    fn a_wrong_value_names_its_place() {
        let variable = |name: &str| (name == CACHE_SIZE).then(|| "much".to_owned());
        let failure = Flags::default()
            .choose_with(&Table::new(), &variable)
            .expect_err("wrong");
        assert_eq!(failure.code, Code::InvalidValue);
        assert!(
            failure
                .message
                .starts_with("ARTIFACTS_MOUNT_CACHE_SIZE: \"much\""),
            "{failure:?}"
        );
        let file = table("attr_ttl = 'soon'");
        let failure = Flags::default()
            .choose_with(&file, &|_| None)
            .expect_err("wrong");
        assert!(
            failure.message.contains("attr_ttl in the table [mount]"),
            "{failure:?}"
        );
    }

    #[test]
    fn the_background_process_is_told_the_same() {
        let flags = Flags {
            profile: Some(Profile::Safe),
            cache_size: Some(Size(5)),
            read_only: true,
            ..Flags::default()
        };
        assert_eq!(
            flags.to_words(),
            ["--profile=safe", "--cache-size=5", "--read-only"]
        );
    }

    #[test]
    fn a_name_nobody_knows_is_found() {
        assert_eq!(
            unknown_keys(&table("uploads = 1\nuplaods = 2")),
            ["uplaods"]
        );
    }
}
