use model::Actor;
use vault::MasterSecret;

use super::*;

fn wallet() -> Wallet {
    let actor = Actor::from_oidc("https://a", "b").unwrap();
    Wallet::derive(&MasterSecret::from_bytes([7; 32]), &actor).unwrap()
}

fn now() -> Timestamp {
    Timestamp::try_from("2026-09-21T14:14:00Z".to_owned()).unwrap()
}

fn seen(message: &str) -> Option<Purpose> {
    let places = [
        LoginPlace::new("https://other.example").unwrap(),
        LoginPlace::new("https://broker.example:8443").unwrap(),
    ];
    recognise(message, &wallet(), &places, now())
}

fn good_login() -> String {
    format!(
        "broker.example:8443 wants you to sign in with your Ethereum account:\n{}\n\n\nURI: https://broker.example:8443\nVersion: 1\nChain ID: 31337\nNonce: 0123456789abcdef\nIssued At: 2026-09-21T14:13:20Z\nExpiration Time: 2026-09-21T14:18:20Z",
        wallet().checksummed()
    )
}

#[test]
fn the_messages_of_old_envelopes_and_logins_are_known() {
    let kek = format!("agentkeys.kek.v1:{}:openrouter", wallet().address());
    assert_eq!(
        seen(&kek),
        Some(Purpose::Kek("openrouter".parse().unwrap()))
    );
    assert_eq!(seen(&good_login()), Some(Purpose::Login));
    let endless = good_login();
    let (endless, _) = endless.split_once("\nExpiration").unwrap();
    assert_eq!(seen(endless), Some(Purpose::Login));
}

#[test]
fn texts_of_the_callers_choosing_are_not_signed() {
    for text in [
        "",
        "hello",
        "Please sign to claim your tokens",
        "agentkeys.kek.v1",
        "agentkeys.kek.v1:",
        "agentkeys.kek.v2:0x00:openrouter",
        "\x19Ethereum Signed Message:\n5hello",
        "{\"types\":{}}",
        "https://broker.example:8443",
        &"a".repeat(LONGEST + 1),
    ] {
        assert_eq!(seen(text), None, "{text:?}");
    }
}

#[test]
fn what_is_nearly_the_message_of_an_envelope_is_not_signed() {
    let address = wallet().address();
    let other = "0x0000000000000000000000000000000000000001";
    for text in [
        format!("agentkeys.kek.v1:{other}:openrouter"),
        format!("agentkeys.kek.v1:{}:openrouter", wallet().checksummed()),
        format!("agentkeys.kek.v1:{address}:OpenRouter"),
        format!("agentkeys.kek.v1:{address}:open/router"),
        format!("agentkeys.kek.v1:{address}:..",),
        format!("agentkeys.kek.v1:{address}:"),
        format!("agentkeys.kek.v1:{address}"),
        format!("agentkeys.kek.v1:{address}:a:b"),
        format!("agentkeys.kek.v1:{address}:openrouter\n"),
        format!("agentkeys.kek.v1:{address}:openrouter "),
        format!(" agentkeys.kek.v1:{address}:openrouter"),
        format!("agentkeys.kek.v1:{address}:ὀpenrouter"),
        format!("agentkeys.kek.v1:{address}:{}", "a".repeat(65)),
        format!("agentkeys.kek-derive.v1:{address}:openrouter"),
    ] {
        assert_eq!(seen(&text), None, "{text:?}");
    }
}

#[test]
fn what_is_nearly_a_login_is_not_signed() {
    let address = wallet().checksummed();
    let lower = wallet().address();
    let swaps = [
        ("broker.example:8443 wants", "evil.example wants"),
        (
            "broker.example:8443 wants",
            "https://broker.example:8443 wants",
        ),
        ("broker.example:8443 wants", "broker.example wants"),
        (" wants you", " would like you"),
        (&address, &lower),
        (&address, "0x0000000000000000000000000000000000000001"),
        ("\n\n\nURI", "\n\nGive everything away.\n\nURI"),
        ("\n\n\nURI", "\n\nURI"),
        ("\n\n\nURI", "\n\n\n\nURI"),
        (
            "URI: https://broker.example:8443",
            "URI: https://other.example",
        ),
        (
            "URI: https://broker.example:8443",
            "URI: https://broker.example:8443/x",
        ),
        ("Version: 1", "Version: 2"),
        ("Chain ID: 31337", "Chain ID: 0x1"),
        ("Chain ID: 31337", "Chain ID: 031337"),
        ("Chain ID: 31337", "Chain ID: "),
        ("Nonce: 0123456789abcdef", "Nonce: 0123456"),
        ("Nonce: 0123456789abcdef", "Nonce: 01234567 89abcdef"),
        (
            "Issued At: 2026-09-21T14:13:20Z",
            "Issued At: 2026-09-21T14:08:59Z",
        ),
        (
            "Issued At: 2026-09-21T14:13:20Z",
            "Issued At: 2026-09-21T14:19:01Z",
        ),
        (
            "Issued At: 2026-09-21T14:13:20Z",
            "Issued At: 2026-09-21T16:13:20+02:00",
        ),
        ("14:18:20Z", "14:13:59Z"),
        ("14:18:20Z", "14:24:01Z"),
        ("Expiration Time: ", "Not Before: "),
        ("\n", "\r\n"),
    ];
    for (from, to) in swaps {
        let text = good_login().replace(from, to);
        assert_ne!(text, good_login(), "{from}");
        assert_eq!(seen(&text), None, "{from:?} → {to:?}");
    }
    for more in [
        "\n",
        " ",
        "\nNot Before: 2026-09-21T14:13:00Z",
        "\nRequest ID: give everything away",
        "\nResources:\n- urn:recap:eyJhdHQiOnt9fQ",
    ] {
        assert_eq!(seen(&(good_login() + more)), None, "{more:?}");
    }
}

#[test]
fn a_place_is_an_origin() {
    for bad in [
        "broker.example",
        "http://broker.example",
        "https://",
        "https://broker.example/",
        "https://broker.example/x",
        "https://user@broker.example",
        "https://Broker.example",
        "https://broker.example\n",
    ] {
        assert!(LoginPlace::new(bad).is_err(), "{bad:?}");
    }
    assert!(LoginPlace::new("http://127.0.0.1:8200").is_ok());
}
