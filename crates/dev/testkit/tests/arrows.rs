//! A crate boundary is a trust boundary: this holds the arrows between the zones, keeps
//! unwanted libraries out, and allows known licences only. Each rule names its reason.
//!
//! Edges are normal and build dependencies with the features that the workspace turns on.
//! Development dependencies do not count: tests may look from any side.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

/// What may not be reached from where.
struct Rule {
    /// A zone (`server/`), or one crate of ours by its folder (`client/cli`).
    from: &'static str,
    /// A zone or crate of ours, or `lib:NAME` for a library.
    never: &'static [&'static str],
    reason: &'static str,
}

/// Rules for crates that are not written yet hold from the day they appear.
const RULES: &[Rule] = &[
    Rule {
        from: "server/",
        never: &["client/"],
        reason: "no server sees a bring-your-own S3 secret; only client/ may hold one",
    },
    Rule {
        from: "server/orchestrator",
        never: &["client/credentials"],
        reason: "the orchestrator issues keys and shows them once; it reads nobody's",
    },
    Rule {
        from: "core/api",
        never: &[
            "core/bucket",
            "lib:tokio",
            "lib:axum",
            "lib:reqwest",
            "lib:sqlx",
        ],
        reason: "the wire is types: both sides take them without taking a server or a client",
    },
    Rule {
        from: "server/provider",
        never: &["dev/", "lib:sqlx", "lib:rusqlite", "lib:axum"],
        reason: "it holds the administrator's keys: no test store and no database beside them",
    },
    Rule {
        from: "core/vault",
        never: &[
            "core/bucket",
            "core/registry",
            "lib:tokio",
            "lib:hyper",
            "lib:reqwest",
            "lib:axum",
            "lib:rusqlite",
            "lib:aws-sdk-s3",
        ],
        reason: "envelopes, keys and tokens are bytes in and bytes out, for every side alike",
    },
    Rule {
        from: "core/registry",
        never: &[
            "core/bucket",
            "lib:alloy-consensus",
            "lib:axum",
            "lib:rusqlite",
            "lib:aws-sdk-s3",
        ],
        reason: "it reads: nothing in it can make a transaction or reach a bucket",
    },
    Rule {
        from: "client/registrar",
        never: &[
            "client/credentials",
            "client/mount",
            "core/bucket",
            "lib:aws-sdk-s3",
        ],
        reason: "it holds the key that writes to the registry, and no key to a bucket",
    },
    Rule {
        from: "server/",
        never: &["lib:alloy-consensus"],
        reason: "servers read the registry; only an operator's machine writes to it",
    },
    Rule {
        from: "server/signer",
        never: &[
            "core/bucket",
            "core/registry",
            "lib:aws-config",
            "lib:aws-sdk-kms",
            "lib:aws-sdk-s3",
        ],
        reason: "the signer holds the master secret: the less it links the less can leak it",
    },
    Rule {
        from: "server/worker",
        never: &[
            "server/signer",
            "server/broker",
            "server/orchestrator",
            "server/provider",
            "dev/",
            "lib:sqlx",
            "lib:rusqlite",
            "lib:aws-sdk-iam",
        ],
        reason: "the worker holds no key that signs, no master secret and no administrator's key, and keeps nothing",
    },
    Rule {
        from: "server/broker",
        never: &[
            "core/bucket",
            "server/signer",
            "server/worker",
            "server/orchestrator",
            "server/provider",
            "dev/",
            "lib:aws-sdk-s3",
            "lib:aws-sdk-sts",
            "lib:aws-sdk-iam",
        ],
        reason: "the broker says who somebody is: it reaches no bucket, no storage key and no key of a credential",
    },
    Rule {
        from: "core/",
        never: &["client/", "server/", "dev/"],
        reason: "core is shared by both sides and knows no policy of either",
    },
    Rule {
        from: "client/",
        never: &["server/"],
        reason: "the user's machine runs no operator's code",
    },
    Rule {
        from: "client/",
        never: &["dev/"],
        reason: "test servers and fault injection are not shipped to users",
    },
    Rule {
        from: "client/filesystem",
        never: &["client/mount", "lib:fuser"],
        reason: "the tree knows no kernel type, so that it is tested without a kernel",
    },
    Rule {
        from: "client/sync",
        never: &["client/filesystem", "client/mount", "client/credentials"],
        reason: "a sync knows a folder and the port to a bucket: no keys, no kernel, no second tree",
    },
    Rule {
        from: "client/credentials",
        never: &["client/filesystem", "client/mount", "lib:fuser"],
        reason: "what holds keys links as little as it can",
    },
    Rule {
        from: "client/secrets",
        never: &["client/filesystem", "client/mount", "lib:fuser"],
        reason: "what holds keys and values links as little as it can",
    },
    Rule {
        from: "client/sidecar",
        never: &[
            "client/filesystem",
            "client/mount",
            "lib:fuser",
            "lib:rusqlite",
        ],
        reason: "the daemon keeps no value, and links nothing that could write one down",
    },
    Rule {
        from: "core/model",
        never: &[
            "core/bucket",
            "lib:tokio",
            "lib:hyper",
            "lib:aws-sdk-s3",
            "lib:rusqlite",
        ],
        reason: "names and states are pure: no I/O and quick to build",
    },
    Rule {
        from: "server/",
        never: &["dev/testkit"],
        reason: "fault injection is not shipped to operators",
    },
];

/// Libraries that nothing of ours reaches.
const BANNED: &[(&str, &str)] = &[
    (
        "openssl-sys",
        "TLS is rustls with aws-lc-rs: one implementation to watch and patch",
    ),
    (
        "openssl",
        "TLS is rustls with aws-lc-rs: one implementation to watch and patch",
    ),
    (
        "native-tls",
        "TLS is rustls with aws-lc-rs: one implementation to watch and patch",
    ),
    (
        "object_store",
        "it refuses keys such as a//b, so it cannot hold a stranger's bucket",
    ),
    (
        "s3s-fs",
        "its conditional writes race: several of several writers win",
    ),
];

/// Libraries of which there is one version: two would be two sets of types, two pools of
/// connections, or two providers of cryptography in one program.
const SINGLE: &[&str] = &[
    "aws-lc-rs",
    "aws-lc-sys",
    "aws-sdk-s3",
    "aws-smithy-runtime",
    "aws-smithy-types",
    "axum",
    "bytes",
    "clap",
    "fuser",
    "http-body",
    "hyper",
    "hyper-util",
    "libsqlite3-sys",
    "reqwest",
    "rusqlite",
    "rustix",
    "rustls",
    "s3s",
    "serde",
    "serde_json",
    "sqlx",
    "time",
    "tokio",
    "tokio-rustls",
    "tokio-util",
    "tracing",
    "tracing-subscriber",
    "uuid",
];

/// Licences that code linked into our programs may have: each can be shipped under
/// Apache-2.0 terms. The same list stands in `deny.toml`.
const LICENCES: &[&str] = &[
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-3-Clause",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Zlib",
];

#[test]
fn no_forbidden_arrow() {
    let broken = broken_rules(&workspace_graph(), RULES);
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn no_banned_library() {
    let broken = banned_libraries(&workspace_graph(), BANNED);
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn one_version_of_each_big_library() {
    let broken = doubled(&workspace_graph(), SINGLE);
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn only_known_licences() {
    let broken = unknown_licences(&workspace_graph(), LICENCES);
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn deny_toml_allows_the_same_licences() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../deny.toml");
    let text = std::fs::read_to_string(path).unwrap();
    let list = text
        .split_once("allow = [")
        .unwrap()
        .1
        .split_once(']')
        .unwrap()
        .0;
    let allowed: BTreeSet<_> = list.split('"').skip(1).step_by(2).collect();
    assert_eq!(allowed, LICENCES.iter().copied().collect());
}

/// What makes or uses a key that signs, in crates that the worker links for what else is in them.
const SIGNING: &[&str] = &[
    "SignEs256",
    "DeviceKey",
    "SigningKey",
    "mint_",
    "make_proof",
    "MasterSecret",
    "derive_cred_kek",
    "key_file",
    "ca::",
    "Authority",
];

/// The crates' arrows cannot say it: `core/vault` and `server/base` have both halves.
#[test]
fn the_worker_signs_nothing() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../server/worker/src");
    let mut found = Vec::new();
    let mut folders = vec![source];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            files += 1;
            let text = std::fs::read_to_string(&path).unwrap();
            found.extend(signing(&text).map(|name| format!("{}: {name}", path.display())));
        }
    }
    assert!(files > 15, "{files} files of the worker were looked at");
    assert!(
        found.is_empty(),
        "the worker reaches a private key: {found:?}"
    );
    assert_eq!(signing("use vault::{DeviceKey, mint_cap};").count(), 2);
}

fn signing(text: &str) -> impl Iterator<Item = &'static str> {
    SIGNING.iter().copied().filter(|name| text.contains(name))
}

/// Packages and what each links, dev-dependencies left out.
#[derive(Default)]
struct Graph {
    nodes: BTreeMap<String, Node>,
}

#[derive(Default, Clone)]
struct Node {
    name: String,
    version: String,
    /// `client/cli` for ours, `lib:tokio` for others.
    place: String,
    licence: Option<String>,
    ours: bool,
    links: BTreeSet<String>,
}

impl Graph {
    /// How `from` reaches each package, by its shortest chain of names.
    fn reach<'a>(&'a self, from: &'a str) -> BTreeMap<&'a str, String> {
        let mut chains = BTreeMap::from([(from, self.nodes[from].name.clone())]);
        let mut queue = VecDeque::from([from]);
        while let Some(id) = queue.pop_front() {
            for next in &self.nodes[id].links {
                if !chains.contains_key(next.as_str()) {
                    let chain = format!("{} → {}", chains[id], self.nodes[next].name);
                    chains.insert(next, chain);
                    queue.push_back(next);
                }
            }
        }
        chains
    }

    fn ours(&self) -> impl Iterator<Item = &String> {
        self.nodes
            .iter()
            .filter(|(_, node)| node.ours)
            .map(|(id, _)| id)
    }

    /// Everything that any of our programs or libraries links.
    fn linked(&self) -> BTreeMap<&str, String> {
        let mut all = BTreeMap::new();
        for id in self.ours() {
            for (reached, chain) in self.reach(id) {
                all.entry(reached).or_insert(chain);
            }
        }
        all
    }
}

fn broken_rules(graph: &Graph, rules: &[Rule]) -> Vec<String> {
    let mut broken = Vec::new();
    for id in graph.ours() {
        let place = &graph.nodes[id].place;
        for rule in rules.iter().filter(|rule| matches(place, rule.from)) {
            for (reached, chain) in graph.reach(id) {
                let target = &graph.nodes[reached].place;
                if reached != id && rule.never.iter().any(|never| matches(target, never)) {
                    broken.push(format!("{chain}: {}", rule.reason));
                }
            }
        }
    }
    broken
}

/// `client/` means every crate of the zone, `client/cli` that crate.
fn matches(place: &str, pattern: &str) -> bool {
    if pattern.ends_with('/') {
        place.starts_with(pattern)
    } else {
        place == pattern
    }
}

fn banned_libraries(graph: &Graph, banned: &[(&str, &str)]) -> Vec<String> {
    let linked = graph.linked();
    let mut broken = Vec::new();
    for (id, chain) in linked {
        let name = &graph.nodes[id].name;
        if let Some((_, reason)) = banned.iter().find(|(banned, _)| banned == name) {
            broken.push(format!("{chain}: {reason}"));
        }
    }
    broken
}

fn doubled(graph: &Graph, single: &[&str]) -> Vec<String> {
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for id in graph.linked().keys() {
        let node = &graph.nodes[*id];
        versions
            .entry(&node.name)
            .or_default()
            .insert(&node.version);
    }
    let doubled = versions
        .into_iter()
        .filter(|(name, v)| single.contains(name) && v.len() > 1);
    doubled
        .map(|(name, v)| format!("{name} is linked in {} versions: {v:?}", v.len()))
        .collect()
}

fn unknown_licences(graph: &Graph, allowed: &[&str]) -> Vec<String> {
    let mut broken = Vec::new();
    for (id, chain) in graph.linked() {
        let licence = graph.nodes[id].licence.as_deref().unwrap_or("");
        if !licence_is_allowed(licence, allowed) {
            broken.push(format!("{chain}: licence {licence:?} is not on the list"));
        }
    }
    broken
}

/// Whether one can meet an SPDX expression with licences of the list. `OR` may choose,
/// `AND` needs both, `/` is an old spelling of `OR`. What is not an expression is refused.
fn licence_is_allowed(expression: &str, allowed: &[&str]) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = tokens.as_slice();
    alternatives(&mut rest, allowed) == Some(true) && rest.is_empty()
}

/// These three give `None` where the text ends or goes wrong. Both sides of an operator are
/// parsed before they are joined: `||` would skip the right one.
fn alternatives(rest: &mut &[&str], allowed: &[&str]) -> Option<bool> {
    let mut ok = conjunction(rest, allowed)?;
    while let ["OR", tail @ ..] = *rest {
        *rest = tail;
        ok |= conjunction(rest, allowed)?;
    }
    Some(ok)
}

fn conjunction(rest: &mut &[&str], allowed: &[&str]) -> Option<bool> {
    let mut ok = one_licence(rest, allowed)?;
    while let ["AND", tail @ ..] = *rest {
        *rest = tail;
        ok &= one_licence(rest, allowed)?;
    }
    Some(ok)
}

fn one_licence(rest: &mut &[&str], allowed: &[&str]) -> Option<bool> {
    let (ok, tail) = match *rest {
        ["(", tail @ ..] => {
            *rest = tail;
            let ok = alternatives(rest, allowed)?;
            let [")", tail @ ..] = *rest else { return None };
            (ok, tail)
        }
        [licence, "WITH", exception, tail @ ..] => {
            let both = format!("{licence} WITH {exception}");
            (allowed.contains(&both.as_str()), tail)
        }
        [licence, tail @ ..] => (allowed.contains(licence), tail),
        [] => return None,
    };
    *rest = tail;
    Some(ok)
}

fn workspace_graph() -> Graph {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../Cargo.toml");
    let mut command = MetadataCommand::new();
    command.manifest_path(manifest);
    // The shipped platform; other platforms' libraries are not linked.
    command.other_options(
        ["--locked", "--filter-platform", "x86_64-unknown-linux-gnu"].map(String::from),
    );
    graph_of(&command.exec().unwrap())
}

fn graph_of(metadata: &Metadata) -> Graph {
    let ours: BTreeSet<_> = metadata.workspace_members.iter().collect();
    let crates = metadata.workspace_root.join("crates");
    let mut graph = Graph::default();
    for package in &metadata.packages {
        let is_ours = ours.contains(&package.id);
        let folder = package
            .manifest_path
            .parent()
            .and_then(|f| f.strip_prefix(&crates).ok());
        let place = match folder {
            Some(folder) if is_ours => folder.to_string(),
            _ => format!("lib:{}", package.name),
        };
        let node = Node {
            name: package.name.to_string(),
            version: package.version.to_string(),
            place,
            licence: package.license.clone(),
            ours: is_ours,
            links: BTreeSet::new(),
        };
        graph.nodes.insert(package.id.repr.clone(), node);
    }
    let resolve = metadata
        .resolve
        .as_ref()
        .expect("cargo metadata resolves unless told not to");
    let packages: BTreeMap<_, _> = metadata.packages.iter().map(|p| (&p.id, p)).collect();
    for node in &resolve.nodes {
        let features: Vec<String> = node.features.iter().map(ToString::to_string).collect();
        let linked = node.deps.iter().filter(|dependency| {
            let links = dependency
                .dep_kinds
                .iter()
                .any(|kind| kind.kind != DependencyKind::Development);
            links && is_turned_on(packages[&node.id], &features, packages[&dependency.pkg])
        });
        let links = linked
            .map(|dependency| dependency.pkg.repr.clone())
            .collect();
        if let Some(entry) = graph.nodes.get_mut(&node.id.repr) {
            entry.links = links;
        }
    }
    graph
}

/// Whether a package really uses another: `cargo metadata` also names optional ones of which a
/// feature is only mentioned weakly (`x?/y`), and nobody has turned on.
fn is_turned_on(package: &Package, features: &[String], other: &Package) -> bool {
    let on: BTreeSet<&str> = features
        .iter()
        .filter_map(|feature| package.features.get(feature))
        .flatten()
        .filter_map(|entry| match entry.split_once('/') {
            Some((name, _)) => (!name.ends_with('?')).then_some(name),
            None => entry.strip_prefix("dep:"),
        })
        .collect();
    package.dependencies.iter().any(|dependency| {
        let name = dependency.rename.as_ref().unwrap_or(&dependency.name);
        dependency.kind != DependencyKind::Development
            && dependency.name == other.name.as_str()
            && dependency.req.matches(&other.version)
            && (!dependency.optional || on.contains(name.as_str()))
    })
}

/// The rules catch what they are for, shown on graphs made for it.
mod on_synthetic_graphs {
    use super::*;

    /// `("client/cli", &["core/bucket", "lib:tokio@1"])`: places, `@` before a version.
    fn graph(edges: &[(&str, &[&str])]) -> Graph {
        let mut graph = Graph::default();
        for (from, links) in edges {
            add(&mut graph, from).links = links.iter().map(|l| (*l).to_owned()).collect();
            for link in *links {
                add(&mut graph, link);
            }
        }
        graph
    }

    fn add<'a>(graph: &'a mut Graph, id: &str) -> &'a mut Node {
        let (place, version) = id.split_once('@').unwrap_or((id, "1"));
        graph.nodes.entry(id.to_owned()).or_insert_with(|| Node {
            name: place.trim_start_matches("lib:").to_owned(),
            version: version.to_owned(),
            place: place.to_owned(),
            licence: Some("MIT".to_owned()),
            ours: !place.starts_with("lib:"),
            links: BTreeSet::new(),
        })
    }

    /// The crate itself, or some crate of the zone.
    fn a_crate_of(place: &str) -> String {
        if place.ends_with('/') {
            format!("{place}any")
        } else {
            place.to_owned()
        }
    }

    #[test]
    fn a_server_that_reaches_the_client_through_core_is_caught() {
        let graph = graph(&[
            ("server/artifactsd", &["dev/embedded"]),
            ("dev/embedded", &["client/credentials"]),
        ]);
        let broken = broken_rules(&graph, RULES);
        assert_eq!(
            broken,
            [
                "server/artifactsd → dev/embedded → client/credentials: no server sees a \
              bring-your-own S3 secret; only client/ may hold one"
            ]
        );
    }

    #[test]
    fn every_rule_catches_a_direct_arrow() {
        for rule in RULES {
            for never in rule.never {
                let (from, to) = (a_crate_of(rule.from), a_crate_of(never));
                let broken = broken_rules(&graph(&[(&from, &[&to])]), RULES);
                let caught = broken.iter().any(|line| line.ends_with(rule.reason));
                assert!(caught, "{from} → {to} passed: {broken:?}");
            }
        }
    }

    #[test]
    fn the_intended_arrows_pass() {
        let graph = graph(&[
            (
                "client/cli",
                &["client/mount", "client/credentials", "core/bucket"],
            ),
            ("client/mount", &["client/filesystem", "lib:fuser"]),
            (
                "client/filesystem",
                &["core/bucket", "core/model", "lib:tokio"],
            ),
            ("server/artifactsd", &["dev/embedded", "lib:tokio"]),
        ]);
        assert_eq!(broken_rules(&graph, RULES), Vec::<String>::new());
    }

    #[test]
    fn a_banned_library_deep_down_is_caught() {
        let graph = graph(&[
            ("client/cli", &["lib:reqwest"]),
            ("lib:reqwest", &["lib:native-tls"]),
        ]);
        let broken = banned_libraries(&graph, BANNED);
        assert_eq!(broken.len(), 1);
        assert!(broken[0].starts_with("client/cli → reqwest → native-tls: TLS is rustls"));
    }

    #[test]
    fn two_versions_are_caught_only_where_one_is_asked_for() {
        let graph = graph(&[(
            "client/cli",
            &["lib:hyper@1", "lib:hyper@0.14", "lib:syn@1", "lib:syn@2"],
        )]);
        let broken = doubled(&graph, SINGLE);
        assert_eq!(broken, [r#"hyper is linked in 2 versions: {"0.14", "1"}"#]);
    }

    #[test]
    fn licences_are_read_as_expressions() {
        let allowed = |expression| licence_is_allowed(expression, LICENCES);
        for good in [
            "MIT",
            "MIT/Apache-2.0",
            "GPL-3.0-only OR MIT",
            "(MIT OR GPL-2.0-only) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR GPL-2.0-only",
        ] {
            assert!(allowed(good), "{good}");
        }
        for bad in [
            "",
            "GPL-3.0-only",
            "MIT AND GPL-3.0-only",
            "MIT OR",
            "(MIT",
            "MIT MIT",
        ] {
            assert!(!allowed(bad), "{bad}");
        }
    }

    #[test]
    fn an_unlisted_licence_is_caught() {
        let mut graph = graph(&[("client/cli", &["lib:x"])]);
        add(&mut graph, "lib:x").licence = Some("AGPL-3.0-only".to_owned());
        let broken = unknown_licences(&graph, LICENCES);
        assert_eq!(
            broken,
            [r#"client/cli → x: licence "AGPL-3.0-only" is not on the list"#]
        );
    }
}
