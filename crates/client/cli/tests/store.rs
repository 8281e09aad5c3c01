//! Workspaces in a real store, and other S3 tools as witnesses.

mod support;

use futures::StreamExt;
use secrecy::ExposeSecret;
use serde_json::Value;
use support::store::{self, block_on};
use support::{Machine, Said, mode};
use testkit::tools::Tool;

/// A store with a bucket, and a machine whose environment has its keys.
struct Site {
    store: Store,
    machine: Machine,
}

/// The embedded store with a bucket, and machines for it.
struct Store(store::Store);

impl Store {
    fn start() -> Self {
        Self(store::Store::start().with_bucket("bucket"))
    }

    /// A machine with the store's address and these keys in its environment.
    fn machine(&self, id: &str, secret: &str) -> Machine {
        let mut machine = Machine::new();
        machine
            .set_keys(id, secret)
            .set("ARTIFACTS_S3_ENDPOINT", &self.0.server.endpoint());
        machine
    }

    /// A machine with new keys that may do what `actions` say to everything in the bucket.
    fn machine_that_may(&self, actions: &str) -> Machine {
        let policy = format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":{actions},"Resource":["arn:aws:s3:::bucket","arn:aws:s3:::bucket/*"]}}]}}"#
        );
        let key = self.0.server.keys().add(&policy).expect("a key");
        self.machine(&key.id, key.secret.expose_secret())
    }
}

impl Site {
    fn new() -> Self {
        let store = Store::start();
        let machine = store.machine(testkit::ACCESS_KEY_ID, testkit::SECRET_ACCESS_KEY);
        Self { store, machine }
    }

    /// Runs a command and looks for the server's secret in what it prints.
    fn run(&self, line: &str) -> Said {
        let said = self.machine.run(line);
        let secret = testkit::SECRET_ACCESS_KEY;
        assert!(
            !said.out.contains(secret) && !said.err.contains(secret),
            "{line}"
        );
        said
    }

    fn client(&self) -> aws_sdk_s3::Client {
        testkit::s3::client(&self.store.0.server.endpoint())
    }

    fn put(&self, key: &str, body: &str) {
        let put = self.client().put_object().bucket("bucket").key(key);
        let body = body.as_bytes().to_vec();
        block_on(put.body(body.into()).send()).expect("put");
    }

    fn get(&self, key: &str) -> String {
        block_on(async {
            let get = self.client().get_object().bucket("bucket").key(key);
            let body = get.send().await.expect("get").body.collect().await;
            String::from_utf8(body.expect("a body").to_vec()).expect("UTF-8")
        })
    }

    fn keys(&self) -> Vec<String> {
        let list = self.client().list_objects_v2().bucket("bucket");
        let page = block_on(list.send()).expect("list");
        page.contents()
            .iter()
            .filter_map(|o| o.key().map(str::to_owned))
            .collect()
    }
}

#[test]
fn a_workspace_is_made_as_documented() {
    let site = Site::new();
    site.put("notes/a.md", "mine before");
    let said = site.run("workspace create cases --bucket bucket");
    let file = site.machine.credentials();
    let cached = format!(
        "Cached BYO credentials at {} (mode 0600);\nfuture mounts will use them automatically.\n",
        file.display()
    );
    assert!(said.err.contains(&cached), "{}", said.err);
    assert!(!said.err.contains("warning"), "{}", said.err);
    assert_eq!(said.ok(), "");
    assert_eq!(mode(&file), 0o600);

    // The marker, and nothing else, was added; the scratch objects are gone.
    assert_eq!(site.keys(), [".artifacts/workspace.json", "notes/a.md"]);
    let marker: Value = serde_json::from_str(&site.get(".artifacts/workspace.json")).expect("JSON");
    assert_eq!(marker["format"], 1);
    let id = marker["id"].as_str().expect("an id");

    // The file on this machine.
    let path = site.machine.config().join("workspaces/cases.toml");
    assert_eq!(mode(&path), 0o600);
    let text = std::fs::read_to_string(&path).expect("read");
    assert!(
        text.contains(id) && text.contains("put_if_absent = true"),
        "{text}"
    );
    assert!(!text.contains(testkit::SECRET_ACCESS_KEY));

    // Without the environment the cache is enough.
    let mut site = site;
    site.machine.unset_keys();
    site.run("storage show").ok();
    let shown: Value =
        serde_json::from_str(&site.run("workspace show cases --format json").ok()).expect("JSON");
    assert_eq!(shown["id"], id);
    assert_eq!(shown["keys_from"], file.display().to_string());
    let list = site.run("workspace list").ok();
    assert!(
        list.contains("cases") && list.contains("s3://bucket/"),
        "{list}"
    );
}

#[test]
fn what_is_a_workspace_already_is_refused_and_attached() {
    let site = Site::new();
    site.run("workspace create cases --bucket bucket --prefix team/cases")
        .ok();
    site.run("workspace create cases --bucket other").refused(
        6,
        "workspace cases already exists on this machine",
        "another name",
    );
    site.run("workspace create twice --bucket bucket --prefix team/cases/")
        .refused(
            6,
            "is workspace cases on this machine already",
            "workspace show cases",
        );
    site.run("workspace create inner --bucket bucket --prefix team/cases/inner")
        .refused(6, "overlaps with workspace cases", "--prefix beside it");
    site.run("workspace create beside --bucket bucket --prefix team/cases2")
        .ok();

    let machine = site
        .store
        .machine(testkit::ACCESS_KEY_ID, testkit::SECRET_ACCESS_KEY);
    let other = Site {
        machine,
        store: site.store,
    };
    other
        .run("workspace create cases --bucket bucket --prefix team/cases")
        .refused(
            6,
            "is a workspace already",
            "artifacts workspace attach NAME --bucket bucket --prefix team/cases/",
        );
    other
        .run("workspace create inner --bucket bucket --prefix team/cases/inner")
        .refused(
            6,
            "lies inside the workspace at s3://bucket/team/cases/",
            "--prefix beside it",
        );
    other.run("workspace create outer --bucket bucket").refused(
        6,
        "there is a workspace inside",
        "--prefix beside it",
    );
    other
        .run("workspace attach mine --bucket bucket --prefix nothing")
        .refused(
            5,
            "is not a workspace",
            "artifacts workspace create mine --bucket bucket",
        );
    let said = other.run("workspace attach mine --bucket bucket --prefix team/cases --format json");
    let attached: Value = serde_json::from_str(&said.ok()).expect("JSON");
    let marker: Value =
        serde_json::from_str(&other.get("team/cases/.artifacts/workspace.json")).expect("JSON");
    assert_eq!(attached["id"], marker["id"]);
    assert_eq!(attached["name"], "mine");
}

#[test]
fn each_refusal_of_the_store_has_its_exit_code() {
    let mut site = Site::new();
    site.run("workspace create w --bucket nobody-has-this")
        .refused(5, "no bucket nobody-has-this", "--bucket");
    site.machine.set("RUST_LOG", "trace");
    site.machine
        .set_keys(testkit::ACCESS_KEY_ID, support::SECRET);
    let said = site.run("workspace create w --bucket bucket");
    assert_eq!(said.code, 3, "{}", said.err);
    site.machine.unset("RUST_LOG");
    site.run("workspace create w --bucket bucket").refused(
        3,
        "the store refused the keys: SignatureDoesNotMatch",
        "storage show",
    );
    site.machine.set_keys(support::ID, support::SECRET);
    site.run("workspace create w --bucket bucket").refused(
        3,
        "the store refused the keys: InvalidAccessKeyId",
        "storage show",
    );
    assert!(
        site.keys().is_empty(),
        "a refused workspace leaves nothing behind"
    );
    assert!(
        !site.machine.credentials().exists(),
        "refused keys are not saved"
    );
}

#[test]
fn deleting_forgets_and_purging_removes_all_pages() {
    let site = Site::new();
    site.run("workspace create cases --bucket bucket --prefix mine")
        .ok();
    site.put("beside/kept", "x");
    block_on(async {
        let client = site.client();
        let puts = (0..1_050).map(|n| {
            let put = client
                .put_object()
                .bucket("bucket")
                .key(format!("mine/{n}"));
            async {
                put.body(b"x".to_vec().into()).send().await.expect("put");
            }
        });
        futures::stream::iter(puts)
            .buffer_unordered(32)
            .collect::<()>()
            .await;
    });
    site.run("workspace delete cases --purge")
        .refused(2, "This removes 1051 objects", "--yes");
    site.run("workspace delete cases").ok();
    site.run("workspace show cases")
        .refused(5, "no workspace cases", "attach");

    site.run("workspace attach cases --bucket bucket --prefix mine")
        .ok();
    let said = site
        .run("workspace delete cases --purge --yes --format json")
        .ok();
    let answer: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(
        (&answer["deleted"], &answer["left"]),
        (&1051.into(), &0.into())
    );
    assert_eq!(site.keys(), ["beside/kept"]);
    site.run("workspace list").ok();
}

#[test]
fn keys_that_may_only_read_attach_but_do_not_create() {
    let site = Site::new();
    let reader = site
        .store
        .machine_that_may(r#"["s3:GetObject","s3:ListBucket"]"#);
    reader
        .run("workspace create cases --bucket bucket")
        .refused(
            4,
            "the keys may not write to s3://bucket/",
            "the right to put",
        );
    assert!(site.keys().is_empty());

    site.run("workspace create cases --bucket bucket").ok();
    let said = reader.run("workspace attach cases --bucket bucket");
    assert!(
        said.err.contains("warning: the keys may only read"),
        "{}",
        said.err
    );
    said.ok();
    let shown = reader.run("workspace show cases --format json").ok();
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(shown["capabilities"]["writable"], false);

    let blind = site.store.machine_that_may(r#"["s3:GetObject"]"#);
    blind.run("workspace attach cases --bucket bucket").refused(
        4,
        "not permitted to list",
        "Ask the bucket's owner",
    );
}

#[test]
fn a_purge_that_leaves_something_says_so_and_can_be_repeated() {
    let site = Site::new();
    site.run("workspace create cases --bucket bucket").ok();
    site.put("a", "x");
    let keeper = site
        .store
        .machine_that_may(r#"["s3:GetObject","s3:PutObject","s3:ListBucket"]"#);
    keeper.run("workspace attach cases --bucket bucket").ok();
    keeper.run("workspace delete cases --purge --yes").refused(
        8,
        "still in the bucket: not permitted to delete",
        "artifacts workspace delete cases --purge",
    );
    assert!(site.keys().contains(&"a".to_owned()));
    assert!(
        site.keys()
            .contains(&".artifacts/workspace.json".to_owned())
    );
    keeper.run("workspace show cases").ok();
}

#[test]
fn another_workspace_in_the_same_place_is_not_purged() {
    let site = Site::new();
    site.run("workspace create cases --bucket bucket").ok();
    site.put(
        ".artifacts/workspace.json",
        r#"{"format":1,"id":"0192f5a0-0000-7000-8000-000000000000","created":"","by":""}"#,
    );
    site.run("workspace delete cases --purge --yes").refused(
        6,
        "now holds workspace 0192f5a0-0000-7000-8000-000000000000",
        "workspace attach",
    );
    assert_eq!(site.keys().len(), 1);
}

#[test]
fn the_aws_command_line_works_with_env_and_with_credential_process() {
    let aws = testkit::require!(Tool::Aws);
    let site = Site::new();
    site.run("workspace create cases --bucket bucket --prefix team")
        .ok();
    site.put("team/a.txt", "hello");
    let script = format!(
        "set -e; export AWS_SESSION_TOKEN=stale; eval \"$(artifacts env cases -f bash)\"; \
         '{}' s3 cp \"s3://$ARTIFACTS_S3_BUCKET/${{ARTIFACTS_S3_PREFIX}}a.txt\" -",
        aws.display()
    );
    let output = site
        .machine
        .command("/bin/bash")
        .args(["-c", &script])
        .output();
    let said = Said::from(output.expect("bash"));
    assert_eq!(said.ok(), "hello");

    let folder = site.machine.home.path().join(".aws");
    std::fs::create_dir_all(&folder).expect("made");
    let config = format!(
        "[default]\nregion = us-east-1\nendpoint_url = {}\ncredential_process = artifacts credential-process cases\n",
        site.store.0.server.endpoint()
    );
    std::fs::write(folder.join("config"), config).expect("written");
    let mut command = site.machine.command(&aws);
    let said = Said::from(
        command
            .args(["s3", "cp", "s3://bucket/team/a.txt", "-"])
            .output()
            .expect("aws"),
    );
    assert_eq!(said.ok(), "hello");
}

#[test]
fn boto3_works_with_credential_process() {
    let python = testkit::require!(Tool::Python);
    let site = Site::new();
    site.run("workspace create cases --bucket bucket").ok();
    site.put("a.txt", "hello");
    if !site
        .machine
        .command(&python)
        .args(["-c", "import boto3"])
        .status()
        .expect("python")
        .success()
    {
        assert!(!testkit::tools::required(), "boto3 is not installed");
        testkit::skip!("boto3 is not installed");
    }
    let script = "\
import boto3, json, os, subprocess
env = json.loads(subprocess.check_output(['artifacts', 'env', 'cases', '-f', 'json']))
path = os.path.join(os.environ['HOME'], 'aws-config')
with open(path, 'w') as f:
    f.write('[default]\\ncredential_process = artifacts credential-process cases\\n')
os.environ['AWS_CONFIG_FILE'] = path
s3 = boto3.client('s3', endpoint_url=env['AWS_ENDPOINT_URL_S3'], region_name=env['AWS_REGION'])
print(s3.get_object(Bucket=env['ARTIFACTS_S3_BUCKET'], Key='a.txt')['Body'].read().decode(), end='')
";
    let output = site.machine.command(&python).args(["-c", script]).output();
    assert_eq!(Said::from(output.expect("python")).ok(), "hello");
}

#[test]
fn rclone_works_with_the_section_printed_for_it() {
    let rclone = testkit::require!(Tool::Rclone);
    let site = Site::new();
    site.run("workspace create cases --bucket bucket --prefix team")
        .ok();
    site.put("team/a.txt", "hello");
    let section = site.machine.run_openly("env cases -f rclone").ok();
    let config = site.machine.home.path().join("rclone.conf");
    std::fs::write(&config, &section).expect("written");
    let mut command = site.machine.command(&rclone);
    command
        .arg("--config")
        .arg(&config)
        .args(["cat", "cases:bucket/team/a.txt"]);
    assert_eq!(Said::from(command.output().expect("rclone")).ok(), "hello");
    let command = section.lines().next().expect("a line");
    assert!(
        command.ends_with("rclone ls cases:bucket/team/"),
        "{command}"
    );
}

#[test]
fn github_masks_are_printed_for_the_runner_only() {
    let mut site = Site::new();
    site.run("workspace create cases --bucket bucket").ok();
    let secret = testkit::SECRET_ACCESS_KEY;
    let said = site.machine.run_openly("env cases -f github");
    assert!(!said.err.contains(secret), "{}", said.err);
    assert!(
        said.out
            .contains(&format!("AWS_SECRET_ACCESS_KEY={secret}\n"))
    );
    assert!(said.out.contains("AWS_SESSION_TOKEN=\n"), "{}", said.out);
    site.machine.set("GITHUB_ACTIONS", "true");
    let said = site.machine.run_openly("env cases -f github");
    assert!(
        said.err.contains(&format!("::add-mask::{secret}\n")),
        "{}",
        said.err
    );
}

#[test]
fn session_keys_do_not_replace_saved_lasting_ones() {
    let mut site = Site::new();
    site.run("storage set").ok();
    let before = site.machine.cached();
    site.machine
        .set("ARTIFACTS_S3_SESSION_TOKEN", support::TOKEN);
    let said = site.run("workspace create cases --bucket bucket");
    assert!(
        said.err
            .contains("session keys of this shell were not saved"),
        "{}",
        said.err
    );
    said.ok();
    assert_eq!(site.machine.cached(), before);
}
