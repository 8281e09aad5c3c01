//! The signer's public endpoints.

use api::Secret;
use api::vault::{DeriveOwnKek, DerivedKek, SignMessage, SignedMessage};
use model::ServiceName;
use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use vault::legacy::{self, Wallet};
use vault::{DeviceKey, Kek};
use zeroize::Zeroizing;

use crate::error::{Kind, Result, SecretError};
use crate::login::Login;
use crate::server::{Asked, Proven, Server};
use crate::value::decode;

/// A signer. Cheap to clone.
#[derive(Clone)]
pub struct Signer(Server);

/// A key and its epoch.
pub struct OwnKek {
    /// The key.
    pub kek: Kek,
    /// Its epoch.
    pub epoch: u32,
    /// The present epoch.
    pub current: u32,
}

impl Signer {
    /// At this server.
    pub fn new(server: Server) -> Self {
        Self(server)
    }

    /// The key of the session's own secrets, of an epoch or of the present one. Here as below,
    /// `key` is of the device that the session is bound to.
    ///
    /// # Errors
    /// The signer's refusal.
    pub async fn own_kek(
        &self,
        login: &Login,
        key: &DeviceKey,
        epoch: Option<u32>,
    ) -> Result<OwnKek> {
        let body = DeriveOwnKek { epoch };
        let path = "/v1/derive-own-kek";
        let derived: DerivedKek = self.post(path, login, key, &body).await?;
        let bytes = decode(&derived.kek).and_then(|bytes| <[u8; 32]>::try_from(&bytes[..]).ok());
        let is_other = epoch.is_some_and(|epoch| epoch != derived.epoch);
        let bytes = bytes.filter(|_| !is_other && derived.epoch <= derived.current_epoch);
        let strange = || SecretError::strange(&self.0.shown(), "its key is of another form");
        Ok(OwnKek {
            kek: Kek::from_bytes(bytes.ok_or_else(strange)?),
            epoch: derived.epoch,
            current: derived.current_epoch,
        })
    }

    /// The key of an older program's envelope of a service.
    ///
    /// # Errors
    /// The signer's refusal, or its wallet is another one.
    pub async fn legacy_kek(
        &self,
        login: &Login,
        key: &DeviceKey,
        wallet: &Wallet,
        service: &ServiceName,
    ) -> Result<Kek> {
        let body = SignMessage {
            message: legacy::kek_message(wallet, service),
        };
        let path = "/dev/sign-message";
        let signed: SignedMessage = self.post(path, login, key, &body).await?;
        if signed.address != wallet.as_str() {
            return Err(SecretError::new(
                Kind::Usage,
                format!("the signer's wallet of this login is {}", signed.address),
                "write that one as vault.wallet into config.toml",
            ));
        }
        let strange = || SecretError::strange(&self.0.shown(), "its signature has another form");
        let signature = signature(&signed.signature).ok_or_else(strange)?;
        Ok(legacy::kek(&signature))
    }

    async fn post<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        login: &Login,
        key: &DeviceKey,
        body: &B,
    ) -> Result<T> {
        let proven = Proven {
            key,
            token: Some(&login.token),
        };
        let asked = Asked {
            method: Method::POST,
            path,
            bearer: Some(&login.token),
            proven: Some(proven),
            body: Some(body),
        };
        self.0.ask(asked).await
    }
}

/// `0x` and the digits of 65 bytes.
fn signature(text: &Secret) -> Option<Zeroizing<[u8; 65]>> {
    let digits = text.expose().strip_prefix("0x")?.as_bytes();
    if digits.len() != 130 {
        return None;
    }
    let value = |digit: u8| {
        char::from(digit)
            .to_digit(16)
            .and_then(|v| u8::try_from(v).ok())
    };
    let mut bytes = Zeroizing::new([0; 65]);
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_65_bytes_of_digits() {
        let secret = |text: String| secrecy::SecretString::from(text).into();
        let good = format!("0x{}1b", "0a".repeat(64));
        let bytes = signature(&secret(good.clone())).expect("good");
        assert_eq!((bytes[0], bytes[64]), (0x0a, 0x1b));
        let cut = good[..130].to_owned();
        let bare = good[2..].to_owned();
        for bad in [cut, bare, good.replace('b', "g")] {
            assert!(signature(&secret(bad)).is_none());
        }
    }
}
