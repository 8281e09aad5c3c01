//! `artifacts storage`, as the documents promise it. Needs no server.

mod support;

use serde_json::Value;
use support::{ID, Machine, SECRET, TOKEN, mode};

fn fields(said: &str) -> Vec<(String, Option<String>, Option<String>)> {
    let value: Value = serde_json::from_str(said).expect("JSON");
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let fields = value["fields"].as_array().expect("fields").iter();
    fields
        .map(|f| {
            (
                text(&f["name"]).expect("a name"),
                text(&f["value"]),
                text(&f["source"]),
            )
        })
        .collect()
}

#[test]
fn set_without_options_saves_the_environment() {
    let mut machine = Machine::new();
    machine
        .set_keys(ID, SECRET)
        .set("ARTIFACTS_S3_REGION", "eu-west-2");
    machine.run("storage set").ok();
    let expected = [
        format!("ACCESS_KEY_ID={ID}"),
        format!("SECRET_ACCESS_KEY={SECRET}"),
        "REGION=eu-west-2".to_owned(),
    ];
    assert_eq!(machine.cached(), expected);
    assert_eq!(mode(&machine.credentials()), 0o600);
    assert_eq!(mode(&machine.config()), 0o700);
}

#[test]
fn a_region_of_another_tools_variable_is_not_saved() {
    let mut machine = Machine::new();
    machine.set_keys(ID, SECRET).set("AWS_REGION", "eu-west-2");
    machine.run("storage set").ok();
    assert!(
        !machine
            .cached()
            .iter()
            .any(|line| line.starts_with("REGION"))
    );
}

#[test]
fn only_the_fields_given_are_rotated() {
    let machine = Machine::new();
    let line = format!("storage set --access-key-id {ID} --secret-access-key - --region a");
    let said = machine.run_with_input(&line, &format!("{SECRET}\n"));
    assert!(!said.err.contains("warning"), "{}", said.err);
    said.ok();
    machine.run("storage set --region us-west-2").ok();
    let expected = [
        format!("ACCESS_KEY_ID={ID}"),
        format!("SECRET_ACCESS_KEY={SECRET}"),
        "REGION=us-west-2".to_owned(),
    ];
    assert_eq!(machine.cached(), expected);
    machine.run("storage set --region=").ok();
    assert_eq!(machine.cached(), expected[..2]);
}

#[test]
fn a_secret_in_the_command_line_works_with_a_warning() {
    let machine = Machine::new();
    let said = machine.run(&format!(
        "storage set --access-key-id {ID} --secret-access-key {SECRET}"
    ));
    assert!(
        said.err
            .contains("warning: the secret access key stood in the command line")
    );
    assert!(
        said.err
            .contains("hint: --secret-access-key - reads it from standard input")
    );
    said.ok();
    assert!(
        machine
            .cached()
            .contains(&format!("SECRET_ACCESS_KEY={SECRET}"))
    );
}

#[test]
fn secret_and_token_are_read_from_standard_input_in_this_order() {
    let machine = Machine::new();
    let line = format!("storage set --access-key-id {ID} --secret-stdin --session-token -");
    machine
        .run_with_input(&line, &format!("{SECRET}\n{TOKEN}\n"))
        .ok();
    let expected = [
        format!("ACCESS_KEY_ID={ID}"),
        format!("SECRET_ACCESS_KEY={SECRET}"),
        format!("SESSION_TOKEN={TOKEN}"),
    ];
    assert_eq!(machine.cached(), expected);

    let ended = machine.run("storage set --secret-stdin");
    assert_eq!(ended.code, 2, "{}", ended.err);
    assert!(
        ended
            .err
            .contains("standard input ended before the secret access key")
    );
}

#[test]
fn new_keys_take_the_old_token_away() {
    let mut machine = Machine::new();
    machine
        .set_keys(ID, SECRET)
        .set("ARTIFACTS_S3_SESSION_TOKEN", TOKEN);
    machine.run("storage set").ok();
    machine.unset_keys().unset("ARTIFACTS_S3_SESSION_TOKEN");
    let said = machine.run_with_input(
        "storage set --access-key-id AKIANEWNEWNEWNEWNEW --secret-access-key -",
        "another",
    );
    assert!(
        said.err.contains("Removed the saved session token"),
        "{}",
        said.err
    );
    said.ok();
    assert_eq!(
        machine.cached(),
        [
            "ACCESS_KEY_ID=AKIANEWNEWNEWNEWNEW",
            "SECRET_ACCESS_KEY=another"
        ]
    );
}

#[test]
fn half_a_pair_is_never_saved() {
    let machine = Machine::new();
    machine
        .run(&format!("storage set --access-key-id {ID}"))
        .refused(3, "SECRET_ACCESS_KEY is missing", "storage set");
    assert!(!machine.credentials().exists());
    let mut halved = Machine::new();
    halved.set("ARTIFACTS_S3_ACCESS_KEY_ID", ID);
    halved.run("storage set").refused(
        3,
        "ARTIFACTS_S3_SECRET_ACCESS_KEY is missing",
        "set ARTIFACTS_S3_SECRET_ACCESS_KEY too, or unset the others",
    );
}

#[test]
fn nothing_to_save_is_wrong_usage() {
    let machine = Machine::new();
    machine
        .run("storage set")
        .refused(2, "nothing to save", "storage set");
}

#[test]
fn show_masks_and_names_each_source() {
    let mut machine = Machine::new();
    machine
        .set_keys(ID, SECRET)
        .set("ARTIFACTS_S3_SESSION_TOKEN", TOKEN);
    machine.run("storage set").ok();
    machine.unset_keys().unset("ARTIFACTS_S3_SESSION_TOKEN");
    machine.set("ARTIFACTS_S3_REGION", "eu-west-2");
    let row = |name: &str, value: &str, source: &str| {
        (
            name.to_owned(),
            Some(value.to_owned()),
            Some(source.to_owned()),
        )
    };
    let expected = [
        row("ACCESS_KEY_ID", "AKIA…TEST", "file"),
        row("SECRET_ACCESS_KEY", "********", "file"),
        row("SESSION_TOKEN", "********", "file"),
        row("REGION", "eu-west-2", "environment"),
    ];
    let said = machine.run("storage show --format json").ok();
    assert_eq!(fields(&said), expected);
    let table = machine.run("storage show").ok();
    let path = machine.credentials().display().to_string();
    assert!(
        table.contains("environment (ARTIFACTS_S3_REGION)"),
        "{table}"
    );
    assert!(
        table
            .lines()
            .any(|l| l.starts_with("SECRET_ACCESS_KEY  ********") && l.ends_with(&path))
    );
}

#[test]
fn profiles_are_kept_apart_and_cleared_apart() {
    let machine = Machine::new();
    for (profile, id) in [
        ("default", "AKIADEFAULTDEFAULT01"),
        ("work", "AKIAWORKWORKWORKWO01"),
    ] {
        let line = format!("storage set --profile {profile} --access-key-id {id} --secret-stdin");
        machine.run_with_input(&line, SECRET).ok();
    }
    let shown = machine.run("storage show --profile work").ok();
    assert!(
        shown.contains("AKIA…WO01") && shown.contains("[profile work]"),
        "{shown}"
    );
    machine.run("storage clear --profile work").ok();
    machine.run("storage show --profile work").refused(
        3,
        "has no keys for profile work",
        "storage set --profile work",
    );
    machine.run("storage show").ok();
    machine.run("storage clear --all --yes").ok();
    assert!(
        !machine.credentials().exists(),
        "an empty file is not left behind"
    );
    machine.run("storage clear").ok();
}

#[test]
fn comments_and_strange_lines_outlive_a_rewrite() {
    let machine = Machine::new();
    std::fs::create_dir_all(machine.config()).expect("made");
    let text = format!(
        "# mine\nACCESS_KEY_ID = {ID}\nSECRET_ACCESS_KEY={SECRET}\nCOLOUR=blue\n\n[other]\nREGION=x\n"
    );
    std::fs::write(machine.credentials(), &text).expect("written");
    support::chmod(&machine.credentials(), 0o600);
    machine.run("storage set --region eu-1").ok();
    let now = std::fs::read_to_string(machine.credentials()).expect("read");
    assert_eq!(
        now,
        text.replace("COLOUR=blue\n", "COLOUR=blue\nREGION=eu-1\n")
    );
}
