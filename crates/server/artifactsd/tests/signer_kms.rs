//! The signer's file sealed by a key of AWS KMS: against moto, and where moto knows less than AWS,
//! against something in front of it that answers as AWS does.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![cfg(all(feature = "signer", feature = "ca"))]

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use aws_sdk_kms::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_kms::error::ProvideErrorMetadata;
use aws_sdk_kms::primitives::Blob;
use common::PROGRAM;
use common::kms::{Answer, Front};
use common::signer::{Place, Running, SERVE, good, said};
use serde_json::Value;
use testkit::moto::Moto;
use testkit::proxy::{Mode, Proxy};
use testkit::tools::Tool;
use tokio::runtime::Runtime;

const REGION: &str = "eu-central-1";
const PURPOSE: (&str, &str) = ("artifacts:purpose", "signer-master-secrets");
const DOMAIN: (&str, &str) = ("artifacts:trust-domain", "artifacts");

/// A KMS with a key, and a signer that may use it.
struct Lab {
    place: Place,
    runtime: Runtime,
    moto: Moto,
    api: aws_sdk_kms::Client,
    key: Key,
}

/// A key of the KMS.
struct Key {
    id: String,
    arn: String,
}

impl Lab {
    fn new() -> Self {
        let moto = Moto::start().unwrap();
        let runtime = Runtime::new().unwrap();
        let keys = Credentials::new("AKIDTEST", "secret-of-the-test", None, None, "test");
        let config = aws_sdk_kms::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(REGION))
            .endpoint_url(moto.endpoint())
            .credentials_provider(keys);
        let api = aws_sdk_kms::Client::from_conf(config.build());
        let key = new_key(&runtime, &api);
        Self {
            place: Place::new(),
            runtime,
            moto,
            api,
            key,
        }
    }

    /// A command on the file, by the lab's key.
    fn command(&self, words: &[&str]) -> Command {
        self.command_at(words, &self.moto.endpoint())
    }

    fn command_at(&self, words: &[&str], endpoint: &str) -> Command {
        self.command_by(words, &self.key.arn, endpoint)
    }

    fn command_by(&self, words: &[&str], key: &str, endpoint: &str) -> Command {
        let mut command = self.place.unopened(Path::new(PROGRAM), words);
        command.args(["--kms-key", key, "--kms-endpoint", endpoint]);
        self.with_credentials(&mut command);
        command
    }

    /// What a machine has that AWS knows: variables, and nothing of the tester's own.
    fn with_credentials(&self, command: &mut Command) {
        without_credentials(command, &self.place);
        command.env("AWS_ACCESS_KEY_ID", "AKIDTEST");
        command.env("AWS_SECRET_ACCESS_KEY", "secret-of-the-test");
    }

    fn did(&self, words: &[&str]) -> Value {
        answer(&self.command(words).output().unwrap())
    }

    fn serve(&self) -> Command {
        self.place.served(self.command(&SERVE))
    }

    fn sealed(&self) -> std::path::PathBuf {
        self.place.path("data").join("signer.sealed")
    }

    /// The refusal to open the file, for this reason.
    fn refusal(&self, reason: &str) -> String {
        format!(
            "error: {} cannot be opened: {reason}\n",
            self.sealed().display()
        )
    }

    /// What the KMS opens the file's wrapped key to.
    fn opened(&self, wrapped: &[u8], context: &[(&str, &str)]) -> Result<Vec<u8>, String> {
        let mut call = self.api.decrypt().ciphertext_blob(Blob::new(wrapped));
        for (name, value) in context {
            call = call.encryption_context(*name, *value);
        }
        match self.runtime.block_on(call.send()) {
            Ok(answer) => Ok(answer.plaintext.unwrap().into_inner()),
            Err(error) => Err(error.code().unwrap().to_owned()),
        }
    }
}

fn new_key(runtime: &Runtime, api: &aws_sdk_kms::Client) -> Key {
    let made = runtime.block_on(api.create_key().send()).unwrap();
    let made = made.key_metadata.unwrap();
    Key {
        id: made.key_id,
        arn: made.arn.unwrap(),
    }
}

fn without_credentials(command: &mut Command, place: &Place) {
    for (name, _) in std::env::vars() {
        if name.starts_with("AWS_") {
            command.env_remove(name);
        }
    }
    command.env("HOME", place.0.path());
    command.env("AWS_EC2_METADATA_DISABLED", "true");
}

fn answer(output: &Output) -> Value {
    good(output);
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What the file says of its key: the ARN, the trust domain, the wrapped key, and where each begins.
fn parameters(file: &[u8]) -> [(usize, &[u8]); 3] {
    let mut at = 12;
    [(); 3].map(|()| {
        let length = usize::from(u16::from_be_bytes([file[at], file[at + 1]]));
        let part = (at + 2, &file[at + 2..at + 2 + length]);
        at += 2 + length;
        part
    })
}

#[test]
fn a_file_lives_by_a_key_of_the_kms() {
    testkit::require!(Tool::MotoServer);
    let lab = Lab::new();
    assert_eq!(lab.did(&["init"])["current_epoch"], 1);
    let server = Running::start(lab.serve());
    let worker = lab.place.identity("worker");
    assert_eq!(server.epoch(&worker)["current_epoch"], 1);
    assert_eq!(lab.did(&["epoch", "advance"])["current_epoch"], 2);
    let pid = rustix::process::Pid::from_child(&server.child);
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while server.epoch(&worker)["current_epoch"] != 2 {
        assert!(Instant::now() < deadline, "not taken up");
        std::thread::sleep(Duration::from_millis(50));
    }
    // What is in the file opens at the KMS for what it is for, and for nothing else.
    let file = fs::read(lab.sealed()).unwrap();
    let [(_, arn), (_, domain), (_, wrapped)] = parameters(&file);
    assert_eq!(
        (arn, domain),
        (lab.key.arn.as_bytes(), "artifacts".as_bytes())
    );
    let key = lab.opened(wrapped, &[PURPOSE, DOMAIN]).unwrap();
    assert_eq!(key.len(), 32);
    assert!(!file.windows(32).any(|window| window == key));
    for context in [
        &[][..],
        &[PURPOSE],
        &[PURPOSE, ("artifacts:trust-domain", "elsewhere")],
    ] {
        let refused = lab.opened(wrapped, context);
        assert_eq!(refused, Err("InvalidCiphertextException".to_owned()));
    }
}

#[test]
fn a_file_goes_from_a_passphrase_to_a_key_and_back() {
    testkit::require!(Tool::MotoServer);
    let lab = Lab::new();
    lab.place.did(&["init"]);
    let before = lab.place.did(&["epoch", "advance"]);
    let endpoint = lab.moto.endpoint();
    let mut command = lab.place.command(&["reseal"]);
    command.args(["--new-kms-key", &lab.key.arn]);
    lab.with_credentials(command.args(["--new-kms-endpoint", &endpoint]));
    good(&command.output().unwrap());
    assert_eq!(lab.did(&["epoch", "show"]), before);
    let refused = lab.place.command(&["epoch", "show"]).output().unwrap();
    let key = &lab.key.arn;
    assert_eq!(
        said(&refused),
        lab.refusal(&format!(
            "it is sealed by the KMS key {key}, not under a passphrase\nhint: --kms-key {key}, if that key is yours"
        ))
    );
    // To another key, and from that back.
    let second = new_key(&lab.runtime, &lab.api);
    let mut command = lab.command(&["reseal"]);
    command.args(["--new-kms-key", &second.arn]);
    command.args(["--new-kms-endpoint", &endpoint]);
    good(&command.output().unwrap());
    let refused = lab.command(&["epoch", "show"]).output().unwrap();
    let reason = format!(
        "it is sealed by the KMS key {}, and {key} was named\nhint: if both are yours, name the first with --kms-key; else somebody has put another file in its place",
        second.arn
    );
    assert_eq!(said(&refused), lab.refusal(&reason));
    let mut command = lab.command_by(&["reseal"], &second.arn, &endpoint);
    command
        .arg("--new-passphrase-file")
        .arg(lab.place.path("passphrase"));
    good(&command.output().unwrap());
    assert_eq!(lab.place.did(&["epoch", "show"]), before);
    let refused = lab.command(&["epoch", "show"]).output().unwrap();
    assert_eq!(
        said(&refused),
        lab.refusal(
            "it is sealed under a passphrase, and a KMS key was named\nhint: --passphrase-file instead of --kms-key; `artifactsd signer reseal --new-kms-key` seals it by the key"
        )
    );
    assert_eq!(fs::read_dir(lab.place.path("data")).unwrap().count(), 2);
}

#[test]
fn a_key_that_is_off_or_to_be_deleted_opens_nothing() {
    testkit::require!(Tool::MotoServer);
    let lab = Lab::new();
    lab.did(&["init"]);
    let (id, arn) = (&lab.key.id, &lab.key.arn);
    let off = lab.api.disable_key().key_id(id).send();
    lab.runtime.block_on(off).unwrap();
    let disabled = format!(
        "the key {arn} is disabled\nhint: `aws kms enable-key --key-id {arn}`, if that is meant"
    );
    let before = fs::read(lab.sealed()).unwrap();
    for mut command in [lab.serve(), lab.command(&["epoch", "advance"])] {
        let refused = command.output().unwrap();
        assert!(!refused.status.success() && refused.stdout.is_empty());
        assert_eq!(said(&refused), lab.refusal(&disabled));
    }
    assert_eq!(fs::read(lab.sealed()).unwrap(), before);
    let deletion = lab.api.schedule_key_deletion().key_id(id);
    let deletion = deletion.pending_window_in_days(7).send();
    lab.runtime.block_on(deletion).unwrap();
    let refused = said(&lab.serve().output().unwrap());
    let begin = lab.refusal(&format!("the key {arn} is to be deleted on 20"));
    assert!(refused.starts_with(begin.trim_end()), "{refused}");
    let hint = format!(
        "\nhint: without it the file can never be opened again: `aws kms cancel-key-deletion --key-id {arn}`, then `aws kms enable-key --key-id {arn}`\n"
    );
    assert!(refused.ends_with(&hint), "{refused}");
    let kept = lab.api.cancel_key_deletion().key_id(id).send();
    lab.runtime.block_on(kept).unwrap();
    assert_eq!(said(&lab.serve().output().unwrap()), lab.refusal(&disabled));
    let on = lab.api.enable_key().key_id(id).send();
    lab.runtime.block_on(on).unwrap();
    drop(Running::start(lab.serve()));
}

#[test]
fn another_installation_and_a_key_for_something_else_are_refused() {
    testkit::require!(Tool::MotoServer);
    let lab = Lab::new();
    lab.did(&["init"]);
    let mut command = lab.command(&["epoch", "show"]);
    command.args(["--trust-domain", "elsewhere"]);
    assert_eq!(
        said(&command.output().unwrap()),
        lab.refusal(
            "it is sealed for the trust domain artifacts, and this is elsewhere\nhint: --trust-domain says which installation's it is"
        )
    );
    fs::remove_file(lab.sealed()).unwrap();
    let signing = lab
        .api
        .create_key()
        .key_usage(aws_sdk_kms::types::KeyUsageType::SignVerify)
        .key_spec(aws_sdk_kms::types::KeySpec::EccNistP256);
    let signing = lab.runtime.block_on(signing.send()).unwrap();
    let arn = signing.key_metadata.unwrap().arn.unwrap();
    let refused = lab.command_by(&["init"], &arn, &lab.moto.endpoint());
    let refused = said(&{ refused }.output().unwrap());
    let reason = format!(
        "error: {} is not written: the key {arn} does not wrap keys: it is ECC_NIST_P256 for SIGN_VERIFY\nhint: a symmetric key (SYMMETRIC_DEFAULT) for ENCRYPT_DECRYPT\n",
        lab.sealed().display()
    );
    assert_eq!(refused, reason);
    assert!(!lab.sealed().exists());
}

/// Each bit is flipped beside the code, against a service in memory.
#[test]
fn a_changed_file_is_refused_wherever_it_was_changed() {
    testkit::require!(Tool::MotoServer);
    let lab = Lab::new();
    lab.did(&["init"]);
    let file = fs::read(lab.sealed()).unwrap();
    let wrapped = parameters(&file)[2];
    let end_of_head = wrapped.0 + wrapped.1.len();
    for at in (0..file.len()).step_by(9) {
        let mut changed = file.clone();
        changed[at] ^= 0x55;
        fs::write(lab.sealed(), changed).unwrap();
        let output = lab.command(&["epoch", "show"]).output().unwrap();
        let refused = said(&output);
        assert!(!output.status.success() && output.stdout.is_empty());
        let reasons: &[&str] = match at {
            0..8 => &["it is not a signer's file"],
            8 => &["it is of format"],
            9 => &["it is sealed in a way that this version does not know"],
            _ if at < wrapped.0 => &[
                "it was changed or cut off",
                "it is sealed by the KMS key arn:",
                "it is sealed for the trust domain",
            ],
            // moto's wrapped form begins with the key's id, and an unknown one it denies.
            _ if at < end_of_head => &[
                "the KMS does not open the key in",
                "the KMS denies kms:Decrypt",
            ],
            _ if at < end_of_head + 28 => &["the key that the KMS opens is another file's"],
            _ => &["it was changed or cut off"],
        };
        let begins = |reason: &&str| refused.starts_with(lab.refusal(reason).trim_end());
        assert!(reasons.iter().any(begins), "byte {at}: {refused}");
    }
    fs::write(lab.sealed(), file).unwrap();
    assert_eq!(lab.did(&["epoch", "show"])["current_epoch"], 1);
}

/// AWS's answers, as its API reference has them.
#[test]
fn each_refusal_of_awss_is_told_with_what_to_do() {
    testkit::require!(Tool::MotoServer);
    let lab = Lab::new();
    lab.did(&["init"]);
    let arn = &lab.key.arn;
    let front = Front::before(&lab.runtime, &lab.moto.endpoint());
    let why = "User: arn:aws:sts::111122223333:assumed-role/signer/i-1 is not authorized";
    for (code, message, reason) in [
        (
            "DisabledException",
            "",
            format!("the key {arn} is disabled\n"),
        ),
        (
            "KMSInvalidStateException",
            "the key is pending deletion.",
            format!("the key {arn} is to be deleted\n"),
        ),
        (
            "KMSInvalidStateException",
            "the key is pending import.",
            format!("the key {arn} cannot be used now: the key is pending import.\n"),
        ),
        (
            "AccessDeniedException",
            why,
            format!(
                "the KMS denies kms:Decrypt by {arn}: {why}\nhint: this server's role needs kms:Decrypt on that key"
            ),
        ),
        (
            "NotFoundException",
            "",
            format!("the KMS knows no key {arn}\n"),
        ),
        (
            "IncorrectKeyException",
            "",
            format!("the KMS does not open the key in the file by {arn}:"),
        ),
        (
            "InvalidCiphertextException",
            "",
            format!("the KMS does not open the key in the file by {arn}:"),
        ),
        (
            "InvalidKeyUsageException",
            "",
            format!("the key {arn} does not wrap keys: it is for another use\n"),
        ),
        (
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
            "the KMS does not take this server's AWS credentials (UnrecognizedClientException)\n"
                .to_owned(),
        ),
        (
            "ValidationException",
            "no\nsuch thing",
            "the KMS refuses (ValidationException): no such thing\n".to_owned(),
        ),
    ] {
        front.set("Decrypt", Answer::refusal(400, code, message), usize::MAX);
        let output = lab
            .command_at(&["epoch", "show"], &front.endpoint())
            .output();
        let refused = said(&output.unwrap());
        let begin = lab.refusal(&reason);
        assert!(
            refused.starts_with(begin.trim_end_matches('\n')),
            "{code}: {refused}"
        );
        assert_eq!(front.take("Decrypt"), 1, "{code}");
    }
    // A role that may not look at keys opens all the same.
    front.take("DescribeKey");
    front.set("Decrypt", Answer::refusal(500, "", ""), 0);
    front.set(
        "DescribeKey",
        Answer::refusal(400, "AccessDeniedException", why),
        9,
    );
    let shown = lab
        .command_at(&["epoch", "show"], &front.endpoint())
        .output();
    assert_eq!(answer(&shown.unwrap())["current_epoch"], 1);
    assert_eq!((front.take("DescribeKey"), front.take("Decrypt")), (1, 1));
}

#[test]
fn a_kms_that_stumbles_is_asked_again_and_one_that_is_gone_stops_the_start() {
    testkit::require!(Tool::MotoServer);
    let lab = Lab::new();
    lab.did(&["init"]);
    let front = Front::before(&lab.runtime, &lab.moto.endpoint());
    for (status, code) in [(500, "KMSInternalException"), (400, "ThrottlingException")] {
        front.set("Decrypt", Answer::refusal(status, code, "later"), 2);
        let shown = lab
            .command_at(&["epoch", "show"], &front.endpoint())
            .output();
        assert_eq!(answer(&shown.unwrap())["current_epoch"], 1);
        assert_eq!(front.take("Decrypt"), 3, "{code}");
    }
    let proxy = Proxy::start(lab.moto.address()).unwrap();
    for (mode, why) in [(Mode::Hang, "no answer in time"), (Mode::Cut, "")] {
        proxy.set_mode(mode);
        let endpoint = proxy.endpoint();
        let begun = Instant::now();
        let mut command = lab.place.served(lab.command_at(&SERVE, &endpoint));
        command.args(["--kms-patience", "1"]);
        let refused = said(&command.output().unwrap());
        let reason = format!("the KMS at {endpoint} does not answer: {why}");
        let begin = lab.refusal(&reason);
        assert!(
            refused.starts_with(begin.trim_end_matches('\n')),
            "{refused}"
        );
        let hint = "\nhint: nothing was changed; see that this machine reaches it (--kms-endpoint names another address), and start again\n";
        assert!(refused.ends_with(hint), "{refused}");
        assert!(begun.elapsed() < Duration::from_secs(10), "{refused}");
    }
}

#[test]
fn what_cannot_be_asked_is_told_before_anything_is_asked() {
    testkit::require!(Tool::MotoServer);
    let lab = Lab::new();
    lab.did(&["init"]);
    let mut command = lab.command(&["epoch", "show"]);
    command.env_remove("AWS_ACCESS_KEY_ID");
    command.env_remove("AWS_SECRET_ACCESS_KEY");
    let refused = said(&command.output().unwrap());
    let begin = lab.refusal("there are no AWS credentials to ask the KMS with: ");
    assert!(refused.starts_with(begin.trim_end()), "{refused}");
    let remote = "http://kms.example:8080/";
    let refused = lab.command_at(&["epoch", "show"], remote).output().unwrap();
    assert_eq!(
        said(&refused),
        format!(
            "error: the KMS at {remote} could be read and changed on the way\nhint: https://\n"
        )
    );
    let alias = "arn:aws:kms:eu-central-1:123456789012:alias/vault";
    let refused = lab.command_by(&["epoch", "show"], alias, remote).output();
    let refused = said(&refused.unwrap());
    assert!(
        refused.contains("that names an alias, which can be made to stand for another key"),
        "{refused}"
    );
    let mut command = lab.command(&["epoch", "show"]);
    command
        .arg("--passphrase-file")
        .arg(lab.place.path("passphrase"));
    let refused = said(&command.output().unwrap());
    assert!(refused.contains("cannot be used with"), "{refused}");
    let mut command = lab.command(&["epoch", "show"]);
    command.args(["--kms-region", "eu-west-1"]);
    let refused = said(&command.output().unwrap());
    let reason = "error: the key is in the region eu-central-1 alone\nhint: only a multi-Region key (mrk-…) has replicas; leave --kms-region out\n";
    assert_eq!(refused, reason);
}

/// The SDK's own log lines could hold what comes over the wire.
#[test]
fn no_log_holds_a_key() {
    testkit::require!(Tool::MotoServer);
    let lab = Lab::new();
    lab.did(&["init"]);
    let file = fs::read(lab.sealed()).unwrap();
    let wrapped = parameters(&file)[2].1;
    let key = lab.opened(wrapped, &[PURPOSE, DOMAIN]).unwrap();
    let encoded = base64_simd::STANDARD.encode_to_string(&key);
    let mut command = lab.command(&["epoch", "show"]);
    command.env("ARTIFACTS_LOG", "trace");
    let output = command.output().unwrap();
    good(&output);
    let log = said(&output);
    assert!(log.contains("TRACE"), "nothing was logged: {log}");
    for secret in [encoded.as_str(), "secret-of-the-test"] {
        assert!(!log.contains(secret));
    }
}
