//! Logging in with a wallet, by a message of EIP-4361 ("Sign-In with Ethereum").
//!
//! A wallet signs no words that a server has chosen. The message is made here, for the address at
//! which the server is called and the chain that is configured; of the server's answer it takes
//! the nonce alone, and an answer that wants another message is refused.

use std::time::Duration;

use alloy_primitives::{eip191_hash_message, hex};
use api::Timestamp;
use api::vault::{WalletChallenge, WalletLogin};

use crate::chain::Wallet;
use crate::{RegistrarError, Result};

/// What people are shown where a wallet asks them.
const STATEMENT: &str = "Log in to the vault.";

/// A message counts no longer, whatever the server would take.
const LONGEST: Duration = Duration::from_secs(300);

/// The lengths of a nonce: the least is the standard's.
const NONCE: std::ops::RangeInclusive<usize> = 8..=128;

/// As much of a server's words as is shown.
const SHOWN: usize = 100;

/// Where a wallet logs in, and when.
#[derive(Debug, Clone, Copy)]
pub struct SignIn<'a> {
    /// The broker's address, as it is called from here.
    pub broker: &'a str,
    /// The chain that is configured.
    pub chain_id: u64,
    /// The time.
    pub now: Timestamp,
}

impl SignIn<'_> {
    /// The message for this login, signed.
    ///
    /// # Errors
    /// [`RegistrarError::SignIn`] where the challenge is for another domain, address or chain, has
    /// ended, or has a nonce that is none.
    pub fn sign(&self, challenge: &WalletChallenge, wallet: &Wallet) -> Result<WalletLogin> {
        let message = self.message(challenge, &wallet.address().to_string())?;
        let signature = wallet.sign(&eip191_hash_message(&message))?;
        let signature = hex::encode_prefixed(signature.as_bytes());
        Ok(WalletLogin {
            message,
            signature: secrecy::SecretString::from(signature).into(),
        })
    }

    fn message(&self, challenge: &WalletChallenge, address: &str) -> Result<String> {
        self.check(challenge)?;
        let lifetime = Duration::from_secs(challenge.expires_in).min(LONGEST);
        let issued_at = Timestamp::from_micros(self.now.seconds().saturating_mul(1_000_000));
        Ok(format!(
            "{domain} wants you to sign in with your Ethereum account:\n\
             {address}\n\n\
             {STATEMENT}\n\n\
             URI: {uri}\n\
             Version: 1\n\
             Chain ID: {chain}\n\
             Nonce: {nonce}\n\
             Issued At: {issued_at}\n\
             Expiration Time: {ends_at}",
            domain = authority(self.broker),
            uri = whole(self.broker),
            chain = self.chain_id,
            nonce = challenge.nonce,
            ends_at = issued_at.plus(lifetime),
        ))
    }

    fn check(&self, challenge: &WalletChallenge) -> Result<()> {
        let broker = whole(self.broker);
        let refuse = |why: String, next: &str| {
            let text = format!("the broker {broker} {why}\nhint: {next}");
            Err(RegistrarError::SignIn(text))
        };
        let by_its_name = "call the broker by its own address, if it is yours that says so";
        if whole(&challenge.uri) != broker {
            let why = format!("wants a login at {}", shown(&challenge.uri));
            return refuse(why, by_its_name);
        }
        if challenge.domain != authority(broker) {
            let why = format!("wants a login for {}", shown(&challenge.domain));
            return refuse(why, by_its_name);
        }
        if !challenge.chain_ids.contains(&self.chain_id) {
            let why = format!(
                "takes no wallet of chain {}, only of {:?}",
                self.chain_id, challenge.chain_ids
            );
            let next = "compare vault.registry.chain_id with the broker's wallet_chains";
            return refuse(why, next);
        }
        let nonce = &challenge.nonce;
        let is_nonce =
            NONCE.contains(&nonce.len()) && nonce.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !is_nonce {
            let next = "letters and digits are expected; is it the vault's broker?";
            return refuse("gives a nonce that is none".into(), next);
        }
        if challenge.expires_in == 0 {
            return refuse("gives a nonce that has ended".into(), "try again");
        }
        Ok(())
    }
}

/// An address without a slash at its end.
fn whole(url: &str) -> &str {
    url.trim_end_matches('/')
}

/// The authority of a URL (RFC 3986): host and port.
fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or(rest)
}

fn shown(text: &str) -> String {
    let text: String = text.chars().take(SHOWN).collect();
    format!("{text:?}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The first account of every anvil.
    const KEY: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

    fn at(text: &str) -> Timestamp {
        Timestamp::try_from(text.to_owned()).expect("a moment")
    }

    fn here() -> SignIn<'static> {
        SignIn {
            broker: "https://broker.example:8443/",
            chain_id: 31_337,
            now: at("2026-09-21T14:13:20.5Z"),
        }
    }

    fn challenge() -> WalletChallenge {
        WalletChallenge {
            nonce: "0123456789abcdef".into(),
            domain: "broker.example:8443".into(),
            uri: "https://broker.example:8443".into(),
            chain_ids: vec![1, 31_337],
            expires_in: 300,
        }
    }

    #[test]
    fn the_message_is_of_the_standards_form_and_the_wallets() {
        let wallet = Wallet::from_hex(KEY).expect("a key");
        let signed = here().sign(&challenge(), &wallet).expect("signed");
        assert_eq!(
            signed.message,
            "broker.example:8443 wants you to sign in with your Ethereum account:
0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266

Log in to the vault.

URI: https://broker.example:8443
Version: 1
Chain ID: 31337
Nonce: 0123456789abcdef
Issued At: 2026-09-21T14:13:20Z
Expiration Time: 2026-09-21T14:18:20Z"
        );
        let bytes = hex::decode(signed.signature.expose()).expect("digits");
        let signature = alloy_primitives::Signature::from_raw(&bytes).expect("a signature");
        let found = signature.recover_address_from_msg(&signed.message);
        assert_eq!(found.expect("an address"), wallet.address());
    }

    #[test]
    fn it_ends_when_the_nonce_does_and_after_five_minutes_at_most() {
        for (expires_in, end) in [
            (1, "14:13:21Z"),
            (120, "14:15:20Z"),
            (86_400, "14:18:20Z"),
            (u64::MAX, "14:18:20Z"),
        ] {
            let challenge = WalletChallenge {
                expires_in,
                ..challenge()
            };
            let message = here().message(&challenge, "0x").expect("a message");
            assert!(
                message.ends_with(&format!("Expiration Time: 2026-09-21T{end}")),
                "{message}"
            );
        }
    }

    /// Whatever a server answers, it is signed as here or not at all.
    #[test]
    fn what_asks_for_another_message_is_not_signed() {
        let wallet = Wallet::from_hex(KEY).expect("a key");
        let good = challenge();
        let nonce = |nonce: &str| WalletChallenge {
            nonce: nonce.into(),
            ..challenge()
        };
        let bad = [
            (
                WalletChallenge {
                    uri: "https://bank.example".into(),
                    ..good.clone()
                },
                "wants a login at \"https://bank.example\"",
            ),
            (
                WalletChallenge {
                    uri: "http://broker.example:8443".into(),
                    ..good.clone()
                },
                "wants a login at ",
            ),
            (
                WalletChallenge {
                    uri: "https://broker.example:8443/x".into(),
                    ..good.clone()
                },
                "wants a login at ",
            ),
            (
                WalletChallenge {
                    domain: "bank.example".into(),
                    ..good.clone()
                },
                "wants a login for \"bank.example\"",
            ),
            (
                WalletChallenge {
                    domain: "broker.example".into(),
                    ..good.clone()
                },
                "wants a login for ",
            ),
            (
                WalletChallenge {
                    domain: "broker.example:8443\nbank".into(),
                    ..good.clone()
                },
                "wants a login for \"broker.example:8443\\nbank\"",
            ),
            (
                WalletChallenge {
                    chain_ids: vec![1],
                    ..good.clone()
                },
                "takes no wallet of chain 31337, only of [1]",
            ),
            (
                WalletChallenge {
                    chain_ids: Vec::new(),
                    ..good.clone()
                },
                "takes no wallet of chain 31337",
            ),
            (
                WalletChallenge {
                    expires_in: 0,
                    ..good.clone()
                },
                "gives a nonce that has ended",
            ),
            (nonce("short"), "gives a nonce that is none"),
            (nonce(&"a".repeat(129)), "gives a nonce that is none"),
            (
                nonce("0123456789abcdef\nResources:\n- https://bank.example"),
                "gives a nonce that is none",
            ),
            (nonce("0123456789abc_ef"), "gives a nonce that is none"),
            (nonce("0123456789abcdé"), "gives a nonce that is none"),
        ];
        let mut messages = BTreeSet::new();
        for (challenge, words) in bad {
            let refused = here().sign(&challenge, &wallet).map(|login| login.message);
            let Err(RegistrarError::SignIn(text)) = refused else {
                panic!("signed: {refused:?}");
            };
            assert!(
                text.starts_with(&format!("the broker https://broker.example:8443 {words}")),
                "{text}"
            );
            assert!(text.contains("\nhint: "), "{text}");
            messages.insert(text);
        }
        assert!(messages.len() > 8, "{messages:?}");
    }
}
