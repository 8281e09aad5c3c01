//! What a login sends to an STS, as a listener sees it that gives a fixed session.

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};

use support::{ID, Machine, SECRET};

/// A listener that answers every request with a session; the requests come out of the channel.
fn listener() -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("its address"));
    let (sender, requests) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let request = read(&mut stream);
            let answer = answer(&request);
            let sent = write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-type: text/xml\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{answer}",
                answer.len()
            );
            if sent.is_err() || sender.send(request).is_err() {
                return;
            }
        }
    });
    (endpoint, requests)
}

/// One whole request: the head and as many bytes as it announces.
fn read(stream: &mut TcpStream) -> String {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let length = stream.read(&mut buffer).expect("readable");
        bytes.extend_from_slice(&buffer[..length]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let whole = text.split_once("\r\n\r\n").is_some_and(|(head, body)| {
            let announced = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length")
                    .then(|| value.trim().parse::<usize>().ok())?
            });
            body.len() >= announced.unwrap_or(0)
        });
        if whole || length == 0 {
            return text;
        }
    }
}

fn answer(request: &str) -> String {
    let action = request
        .split(['&', '\n'])
        .find_map(|pair| pair.strip_prefix("Action="))
        .unwrap_or("None");
    format!(
        "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result><Credentials><AccessKeyId>ASIASESSIONSESSION01</AccessKeyId><SecretAccessKey>session-secret</SecretAccessKey><SessionToken>session-token</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></{action}Result></{action}Response>"
    )
}

fn machine() -> Machine {
    let mut machine = Machine::new();
    machine
        .set("ARTIFACTS_KEYRING_TYPE", "file")
        .set("ARTIFACTS_KEYRING_PASSWORD", "correct horse");
    machine
}

fn has(request: &str, parts: &[&str]) {
    for part in parts {
        assert!(request.contains(part), "no {part} in {request}");
    }
}

#[test]
fn an_mfa_code_goes_with_the_device_and_no_secret_is_sent() {
    let (endpoint, requests) = listener();
    let machine = machine();
    let line = format!(
        "auth user configure --access-key-id {ID} --secret-stdin --endpoint {endpoint} --mfa-device GAHT12345678 --session-length 12h"
    );
    machine.run_with_input(&line, SECRET).ok();
    machine.run("auth login --mfa-code 123456").ok();
    let request = requests.recv().expect("a request");
    has(
        &request,
        &[
            "Action=GetSessionToken",
            "SerialNumber=GAHT12345678",
            "TokenCode=123456",
            "DurationSeconds=43200",
            &format!("Credential={ID}/"),
        ],
    );
    assert!(!request.contains(SECRET));
    // The session lasts; nobody is asked for a code again.
    let env = machine.run_openly("auth env -f dotenv").ok();
    assert!(
        env.contains("AWS_ACCESS_KEY_ID=ASIASESSIONSESSION01"),
        "{env}"
    );
    assert!(requests.try_recv().is_err(), "no second request");
}

#[test]
fn a_role_is_asked_for_with_its_condition() {
    let (endpoint, requests) = listener();
    let machine = machine();
    let line = format!(
        "auth user configure --identity ops --access-key-id {ID} --secret-stdin --endpoint {endpoint} --role-arn arn:aws:iam::1:role/Ops --external-id agreed"
    );
    machine.run_with_input(&line, SECRET).ok();
    machine.run("auth login --identity ops").ok();
    has(
        &requests.recv().expect("a request"),
        &[
            "Action=AssumeRole&",
            "RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2FOps",
            "RoleSessionName=artifacts-ops",
            "ExternalId=agreed",
        ],
    );
}

#[test]
fn a_web_identity_needs_no_keys_and_its_token_is_read_at_each_login() {
    let (endpoint, requests) = listener();
    let machine = machine();
    let token = machine.home.path().join("token");
    std::fs::write(&token, "first.web.token\n").expect("written");
    let line = format!(
        "auth user configure --identity ci --endpoint {endpoint} --role-arn arn:aws:iam::1:role/Ci --web-identity-token-file {}",
        token.display()
    );
    machine.run(&line).ok();
    machine.run("auth login --identity ci").ok();
    let request = requests.recv().expect("a request");
    has(
        &request,
        &[
            "Action=AssumeRoleWithWebIdentity",
            "WebIdentityToken=first.web.token",
        ],
    );
    let signed = request.to_lowercase().contains("authorization:");
    assert!(!signed, "there are no keys to sign with: {request}");
    std::fs::write(&token, "second.web.token\n").expect("written");
    machine.run("auth login --identity ci").ok();
    let request = requests.recv().expect("a request");
    has(&request, &["WebIdentityToken=second.web.token"]);
    std::fs::remove_file(&token).expect("removed");
    let gone = machine.run("auth login --identity ci");
    assert_eq!(gone.code, 1, "{}", gone.err);
    assert!(gone.err.contains("cannot read"), "{}", gone.err);
}
