//! Independent clients: the AWS command line, boto3, rclone.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::path::Path;
use std::process::{Command, Output};

use common::{BUCKET, Lab, refusal};
use testkit::tools::Tool;

/// Runs a client with the store's keys in its environment, and shows what it said if it
/// fails.
fn run(lab: &Lab, program: &Path, arguments: &[&str]) -> Output {
    let output = Command::new(program)
        .args(arguments)
        .env("AWS_ACCESS_KEY_ID", testkit::ACCESS_KEY_ID)
        .env("AWS_SECRET_ACCESS_KEY", testkit::SECRET_ACCESS_KEY)
        .env("AWS_DEFAULT_REGION", testkit::REGION)
        .env("AWS_ENDPOINT_URL", lab.server.endpoint())
        .env("AWS_CONFIG_FILE", lab.folder.path().join("none"))
        .env(
            "AWS_SHARED_CREDENTIALS_FILE",
            lab.folder.path().join("none"),
        )
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("RCLONE_CONFIG", lab.folder.path().join("none"))
        .env("RCLONE_CONFIG_LAB_TYPE", "s3")
        .env("RCLONE_CONFIG_LAB_PROVIDER", "Other")
        .env("RCLONE_CONFIG_LAB_ENDPOINT", lab.server.endpoint())
        .env("RCLONE_CONFIG_LAB_REGION", testkit::REGION)
        .env("RCLONE_CONFIG_LAB_ENV_AUTH", "true")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{} {arguments:?}\n{out}\n{said}",
        program.display()
    );
    output
}

/// Files of all sizes, odd names among them.
fn tree(folder: &Path) {
    std::fs::create_dir_all(folder.join("deep/er")).unwrap();
    std::fs::write(folder.join("empty"), "").unwrap();
    std::fs::write(folder.join("deep/small é &+%.txt"), "small").unwrap();
    std::fs::write(folder.join("deep/er/large"), vec![42; 20_000_000]).unwrap();
}

fn same(left: &Path, right: &Path) {
    let output = Command::new("diff")
        .arg("-r")
        .arg(left)
        .arg(right)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_aws_command_line() {
    let aws = testkit::require!(Tool::Aws);
    let lab = Lab::start().await;
    let here = tempfile::tempdir().unwrap();
    let (up, down) = (here.path().join("up"), here.path().join("down"));
    tree(&up);
    let url = format!("s3://{BUCKET}/tree");
    let (up, down) = (up.to_str().unwrap(), down.to_str().unwrap());
    run(&lab, &aws, &["s3", "sync", "--only-show-errors", up, &url]);
    run(
        &lab,
        &aws,
        &["s3", "sync", "--only-show-errors", &url, down],
    );
    same(Path::new(up), Path::new(down));
    let moved = format!("s3://{BUCKET}/moved");
    run(
        &lab,
        &aws,
        &[
            "s3",
            "mv",
            "--only-show-errors",
            "--recursive",
            &url,
            &moved,
        ],
    );
    let listed = run(
        &lab,
        &aws,
        &["s3", "ls", "--recursive", &format!("s3://{BUCKET}/")],
    );
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert_eq!(listed.lines().count(), 3, "{listed}");
    assert!(listed.contains("20000000 moved/deep/er/large"), "{listed}");
    run(
        &lab,
        &aws,
        &["s3", "rm", "--only-show-errors", "--recursive", &moved],
    );
    run(&lab, &aws, &["s3", "rb", &format!("s3://{BUCKET}")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn boto3() {
    let python = testkit::require!(Tool::Python);
    let lab = Lab::start().await;
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/witnesses/boto3_witness.py"
    );
    let output = run(&lab, &python, &[script, BUCKET]);
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "all well");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_aws_command_line_manages_users() {
    let aws = testkit::require!(Tool::Aws);
    let lab = Lab::start().await;
    let here = tempfile::tempdir().unwrap();
    let policy = here.path().join("policy.json");
    let read = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::lab-bucket/*"}]}"#;
    std::fs::write(&policy, read).unwrap();
    let document = format!("file://{}", policy.display());
    let iam = |arguments: &[&str]| {
        let mut all = vec!["iam", "--output", "json"];
        all.extend(arguments);
        let said = run(&lab, &aws, &all).stdout;
        serde_json::from_slice::<serde_json::Value>(&said).unwrap_or_default()
    };
    iam(&["create-user", "--user-name", "ann", "--path", "/team/"]);
    let made = iam(&[
        "create-policy",
        "--policy-name",
        "read",
        "--policy-document",
        &document,
    ]);
    let arn = made["Policy"]["Arn"].as_str().unwrap();
    let both = ["--user-name", "ann", "--policy-arn", arn];
    iam(&[&["attach-user-policy"], &both[..]].concat());
    let version = iam(&[
        "get-policy-version",
        "--policy-arn",
        arn,
        "--version-id",
        "v1",
    ]);
    let sid = &version["PolicyVersion"]["Document"]["Statement"][0]["Action"];
    assert_eq!(sid, "s3:GetObject");
    let key = iam(&["create-access-key", "--user-name", "ann"]);
    let key = &key["AccessKey"];
    let (id, secret) = (&key["AccessKeyId"], &key["SecretAccessKey"]);
    let client = lab.client_of(id.as_str().unwrap(), secret.as_str().unwrap());
    lab.put("k", b"x").await;
    assert!(
        client
            .get_object()
            .bucket(BUCKET)
            .key("k")
            .send()
            .await
            .is_ok()
    );
    let put = client.put_object().bucket(BUCKET).key("k").send().await;
    assert_eq!(refusal(put), ("AccessDenied".into(), 403));

    let id = id.as_str().unwrap();
    iam(&[
        "delete-access-key",
        "--user-name",
        "ann",
        "--access-key-id",
        id,
    ]);
    iam(&[&["detach-user-policy"], &both[..]].concat());
    iam(&["delete-policy", "--policy-arn", arn]);
    iam(&["delete-user", "--user-name", "ann"]);
    assert_eq!(iam(&["list-users"])["Users"], serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn rclone() {
    let rclone = testkit::require!(Tool::Rclone);
    let lab = Lab::start().await;
    let here = tempfile::tempdir().unwrap();
    let (up, down) = (here.path().join("up"), here.path().join("down"));
    tree(&up);
    let remote = format!("lab:{BUCKET}/tree");
    let (up, down) = (up.to_str().unwrap(), down.to_str().unwrap());
    run(&lab, &rclone, &["copy", up, &remote]);
    run(&lab, &rclone, &["check", "--download", up, &remote]);
    run(&lab, &rclone, &["copy", &remote, down]);
    same(Path::new(up), Path::new(down));
    run(
        &lab,
        &rclone,
        &[
            "moveto",
            &format!("{remote}/deep"),
            &format!("{remote}/deeper"),
        ],
    );
    let listed = run(&lab, &rclone, &["lsf", "-R", "--files-only", &remote]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(
        listed.lines().any(|line| line == "deeper/small é &+%.txt"),
        "{listed}"
    );
    run(&lab, &rclone, &["purge", &remote]);
    run(&lab, &rclone, &["rmdir", &format!("lab:{BUCKET}")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_aws_command_line_manages_roles_and_settings_of_buckets() {
    let aws = testkit::require!(Tool::Aws);
    let lab = Lab::start().await;
    let call = |line: &str, rest: &[&str]| {
        let words = line.split_whitespace();
        let all: Vec<&str> = words.chain(rest.iter().copied()).collect();
        let said = run(&lab, &aws, &[&all[..], &["--output", "json"]].concat()).stdout;
        serde_json::from_slice::<serde_json::Value>(&said).unwrap_or_default()
    };
    let provider = "arn:aws:iam::000000000000:oidc-provider/id.example.com";
    let trust = format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow",
            "Principal":{{"Federated":"{provider}"}},
            "Action":["sts:AssumeRoleWithWebIdentity","sts:TagSession"],
            "Condition":{{"StringEquals":{{"id.example.com:aud":"sts.amazonaws.com"}}}}}}]}}"#
    );
    let own = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject",
        "Resource":"arn:aws:s3:::lab-bucket/${aws:PrincipalTag/team}/*"}]}"#;
    let made = call(
        "iam create-open-id-connect-provider --url https://id.example.com --client-id-list sts.amazonaws.com",
        &[],
    );
    assert_eq!(made["OpenIDConnectProviderArn"], provider);
    call(
        "iam create-role --role-name reader --assume-role-policy-document",
        &[&trust],
    );
    call(
        "iam put-role-policy --role-name reader --policy-name own --policy-document",
        &[own],
    );
    let role = call("iam get-role --role-name reader", &[]);
    let statement = &role["Role"]["AssumeRolePolicyDocument"]["Statement"][0];
    assert_eq!(statement["Principal"]["Federated"], provider);
    let names = call("iam list-role-policies --role-name reader", &[]);
    assert_eq!(names["PolicyNames"][0], "own");

    let policy = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*",
        "Action":"s3:*","Resource":"arn:aws:s3:::lab-bucket/*"}]}"#;
    call(
        "s3api put-bucket-policy --bucket lab-bucket --policy",
        &[policy],
    );
    let kept = call("s3api get-bucket-policy --bucket lab-bucket", &[]);
    assert_eq!(kept["Policy"], policy);
    let rules = r#"{"Rules":[{"ID":"old","Status":"Enabled","Filter":{"Prefix":"bots/"},"Expiration":{"Days":9}}]}"#;
    let set =
        "s3api put-bucket-lifecycle-configuration --bucket lab-bucket --lifecycle-configuration";
    call(set, &[rules]);
    let kept = call(
        "s3api get-bucket-lifecycle-configuration --bucket lab-bucket",
        &[],
    );
    assert_eq!(kept["Rules"][0]["Expiration"]["Days"], 9);

    call(
        "iam delete-role-policy --role-name reader --policy-name own",
        &[],
    );
    call("iam delete-role --role-name reader", &[]);
    let roles = call("iam list-roles", &[]);
    assert_eq!(roles["Roles"].as_array().map(Vec::len), Some(0));
}
