//! Which user's which program gets which services: `daemon-policy.toml` beside `config.toml`.
//!
//! Without the file, every program of the daemon's own user gets everything that the login may
//! have, and nobody else gets anything. With it, only what it says. It is read for each request,
//! so that a change counts at once; one that cannot be read refuses everything.

use std::path::{Path, PathBuf};

use credentials::{Folder, Paths, Privacy};
use model::ServiceName;
use secrets::{Kind, Result, SecretError, Wanted};
use serde::Deserialize;
use vault::Op;

use crate::peer::Peer;

/// The name of the file.
const NAME: &str = "daemon-policy.toml";

/// Where it is.
pub fn policy_file(paths: &Paths) -> PathBuf {
    paths.config().join(NAME)
}

/// The rules, if there are any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    me: u32,
    rules: Option<Vec<Rule>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    allow: Vec<Rule>,
}

/// `[[allow]]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    /// Whose programs; none for the daemon's own user.
    uid: Option<u32>,
    /// Which program; none for every.
    program: Option<PathBuf>,
    /// Which services.
    services: Vec<Services>,
    /// What may be done; fetching alone where nothing is written.
    #[serde(default = "fetch_alone")]
    ops: Vec<OpWord>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
enum Services {
    All,
    One(ServiceName),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum OpWord {
    Store,
    Fetch,
    List,
    Teardown,
}

fn fetch_alone() -> Vec<OpWord> {
    vec![OpWord::Fetch]
}

impl TryFrom<String> for Services {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        match text.as_str() {
            "*" => Ok(Self::All),
            name => match name.parse() {
                Ok(service) => Ok(Self::One(service)),
                Err(error) => Err(format!("{name:?}: {error}, or \"*\" for all")),
            },
        }
    }
}

impl Policy {
    /// What the file says now; `me` is the daemon's own user.
    ///
    /// # Errors
    /// It is there and cannot be read, or others may write to it.
    pub fn load(paths: &Paths, me: u32) -> Result<Self> {
        let Some(folder) = Folder::open(paths.config())? else {
            return Ok(Self { me, rules: None });
        };
        let Some(bytes) = folder.read(NAME, Privacy::Trusted)? else {
            return Ok(Self { me, rules: None });
        };
        let path = policy_file(paths);
        let text = std::str::from_utf8(&bytes).map_err(|_| damaged(&path, "not UTF-8"))?;
        let file: File = toml::from_str(text).map_err(|e| damaged(&path, e.message()))?;
        for program in file.allow.iter().filter_map(|rule| rule.program.as_ref()) {
            if !program.is_absolute() {
                return Err(damaged(&path, "a program is given by its absolute path"));
            }
        }
        Ok(Self {
            me,
            rules: Some(file.allow),
        })
    }

    /// Whether there is a file.
    pub fn has_rules(&self) -> bool {
        self.rules.is_some()
    }

    /// Whether another user than the daemon's own may come to the socket.
    pub fn names_others(&self) -> bool {
        let others = |rule: &Rule| rule.uid.is_some_and(|uid| uid != self.me);
        self.rules.iter().flatten().any(others)
    }

    /// Whether the peer may come to the socket at all.
    ///
    /// # Errors
    /// [`Kind::Denied`].
    pub fn admit(&self, peer: &Peer) -> Result<()> {
        let named = |rule: &Rule| rule.uid.unwrap_or(self.me) == peer.uid;
        if peer.uid == self.me || self.rules.iter().flatten().any(named) {
            return Ok(());
        }
        Err(SecretError::new(
            Kind::Denied,
            format!(
                "the daemon of user {} does not serve user {}",
                self.me, peer.uid
            ),
            format!("run a daemon of your own, or have this user named in {NAME}"),
        ))
    }

    /// Whether the peer may have this.
    ///
    /// # Errors
    /// [`Kind::Denied`].
    pub fn allow(&self, peer: &Peer, wanted: &Wanted) -> Result<()> {
        self.admit(peer)?;
        let Some(rules) = &self.rules else {
            return Ok(());
        };
        if rules.iter().any(|rule| rule.allows(peer, wanted, self.me)) {
            return Ok(());
        }
        let program = peer
            .program
            .as_deref()
            .map_or("a program".into(), |program| program.display().to_string());
        let what = match wanted.service() {
            Some(service) => format!("{} {service}", wanted.op().as_str()),
            None => wanted.op().as_str().to_owned(),
        };
        Err(SecretError::new(
            Kind::Denied,
            format!(
                "the daemon's policy does not let {program} of user {} {what}",
                peer.uid
            ),
            format!("add it to {NAME} beside config.toml"),
        ))
    }
}

impl Rule {
    fn allows(&self, peer: &Peer, wanted: &Wanted, me: u32) -> bool {
        let of_user = self.uid.unwrap_or(me) == peer.uid;
        let of_program = match &self.program {
            Some(program) => peer.program.as_ref() == Some(program),
            None => true,
        };
        let word = match wanted.op() {
            Op::Store => OpWord::Store,
            Op::Fetch => OpWord::Fetch,
            Op::List => OpWord::List,
            Op::Teardown => OpWord::Teardown,
        };
        let of_service = self.services.iter().any(|known| match known {
            Services::All => true,
            Services::One(service) => wanted.service() == Some(service),
        });
        // A list or a teardown is about all services.
        of_user && of_program && of_service && self.ops.contains(&word)
    }
}

fn damaged(path: &Path, why: &str) -> SecretError {
    SecretError::new(
        Kind::Denied,
        format!(
            "{}: {why}; until it is mended nobody gets anything",
            path.display()
        ),
        "mend the file, or take it away: without it the daemon's own user gets everything",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: u32 = 1000;

    fn policy(text: Option<&str>) -> Result<Policy> {
        let home = tempfile::tempdir().expect("a temporary folder");
        let paths = Paths::under(home.path());
        let folder = Folder::create(paths.config()).expect("made");
        if let Some(text) = text {
            folder.replace(NAME, text.as_bytes()).expect("written");
        }
        Policy::load(&paths, ME)
    }

    fn peer(uid: u32, program: &str) -> Peer {
        Peer {
            uid,
            program: Some(program.into()),
        }
    }

    fn fetch(service: &str) -> Wanted {
        Wanted::Fetch(service.parse().expect("a name"))
    }

    fn denied(answer: Result<()>) -> String {
        let error = answer.expect_err("denied");
        assert_eq!(error.kind, Kind::Denied, "{error}");
        error.message
    }

    #[test]
    fn without_a_file_its_own_user_gets_everything_and_nobody_else_anything() {
        let policy = policy(None).expect("none");
        policy
            .allow(&peer(ME, "/bin/a"), &fetch("x"))
            .expect("its own");
        policy
            .allow(&peer(ME, "/bin/a"), &Wanted::List)
            .expect("its own");
        let said = denied(policy.allow(&peer(7, "/bin/a"), &fetch("x")));
        assert_eq!(said, "the daemon of user 1000 does not serve user 7");
        denied(policy.admit(&peer(0, "/bin/a")));
    }

    #[test]
    fn with_a_file_only_what_it_says() {
        let text = "[[allow]]\nprogram = \"/bin/a\"\nservices = [\"x\", \"Y\"]\n[[allow]]\nuid = 7\nservices = [\"*\"]\nops = [\"fetch\", \"list\"]\n";
        let policy = policy(Some(text)).expect("good");
        assert!(policy.has_rules() && policy.names_others());
        policy
            .allow(&peer(ME, "/bin/a"), &fetch("y"))
            .expect("named");
        denied(policy.allow(&peer(ME, "/bin/b"), &fetch("x")));
        denied(policy.allow(&peer(ME, "/bin/a"), &fetch("z")));
        let store = Wanted::Store("x".parse().expect("a name"));
        let said = denied(policy.allow(&peer(ME, "/bin/a"), &store));
        assert!(said.contains("/bin/a of user 1000 store x"), "{said}");
        denied(policy.allow(&peer(ME, "/bin/a"), &Wanted::List));
        policy.allow(&peer(7, "/bin/b"), &fetch("z")).expect("all");
        policy
            .allow(&peer(7, "/bin/b"), &Wanted::List)
            .expect("named");
        denied(policy.allow(&peer(8, "/bin/a"), &fetch("x")));
        let hidden = Peer {
            uid: ME,
            program: None,
        };
        denied(policy.allow(&hidden, &fetch("x")));
    }

    #[test]
    fn a_file_that_makes_no_sense_refuses_everything() {
        for text in [
            "allow = 1",
            "[[allow]]\nservices = [\"a b\"]",
            "[[allow]]\nservices = [\"x\"]\nprogramm = \"/bin/a\"",
            "[[allow]]\nservices = [\"x\"]\nprogram = \"a\"",
            "[[allow]]\nservices = [\"x\"]\nops = [\"read\"]",
            "",
        ] {
            let error = policy(Some(text)).expect_err("refused");
            assert_eq!(error.kind, Kind::Denied, "{text}");
            assert!(error.message.contains(NAME), "{error}");
        }
    }
}
